"""Tests of the catalogue, the memory model and the step-time model."""
