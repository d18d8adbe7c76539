"""Tests of the greedy engines."""
