"""Machines, GPUs and how they are cut and shared, as a plan says it."""
