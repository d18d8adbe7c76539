"""The loop that keeps what runs equal to the plan: observe, compare, act within limits."""
