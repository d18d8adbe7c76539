"""Who takes which requests, as a plan says it."""
