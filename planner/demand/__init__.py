"""Traces, and the demand per window of time that they and declared rates come to."""
