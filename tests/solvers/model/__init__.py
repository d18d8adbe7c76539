"""Tests of what the engines share."""
