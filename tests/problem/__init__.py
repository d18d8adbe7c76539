"""Tests of the Problem, its accounting and its judge."""
