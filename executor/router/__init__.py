"""The Envoy process in front of the replicas, and its admin interface."""
