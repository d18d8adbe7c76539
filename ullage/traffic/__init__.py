"""Requests from traces, simulated, or replayed against real or emulated engines."""
