"""Clients of engines and of the router: single requests, streams, replay of a trace, and what was used."""
