"""Tests of the wiring, the command line and the views."""
