"""Cheapest mixes of one demand and most valuable patterns of one GPU, at given prices."""
