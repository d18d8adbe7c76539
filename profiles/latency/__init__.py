"""How fast an engine is: step times, latency under load, capacity; fitted, with bands."""
