"""Tests of ullage."""
