"""The steps from a fleet and a state to a checked plan, and what asks engines on the way."""
