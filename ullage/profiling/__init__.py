"""Measurements: imported, made live, estimated, and what a missing one is worth."""
