"""Tests of the step core, the simulation and the metrics."""
