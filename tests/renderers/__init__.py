"""Renderers: manifests, scripts and router configuration."""
