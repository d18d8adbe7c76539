"""Tests of what is installed: the wheel, its metadata and its dependencies."""
