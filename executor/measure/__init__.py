"""Live measurement of engines: one load, a sweep of loads, two engines beside each other."""
