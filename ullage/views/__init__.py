"""Plans, status and measurements as text for people."""
