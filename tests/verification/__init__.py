"""Tests of judging a GPU by the step core."""
