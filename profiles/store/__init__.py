"""Measurements: their form, the folder that holds them, and what makes one plausible."""
