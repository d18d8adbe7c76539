"""Importers of measurements, one by one and all by the same rules."""
