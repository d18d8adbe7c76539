"""Demand as it was measured: asked of a Prometheus server."""
