"""Tests of the examples that are shipped."""
