"""Importers of measurements, one module per kind of file, and the one parser of engine metrics.

Every importer is a Source: it recognises its files and parses their bytes into Measurements, or raises SourceError naming file and field.
"""
