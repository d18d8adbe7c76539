"""Tests of plans and their differences as Markdown."""
