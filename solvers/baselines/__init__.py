"""Greedy engines: what planners without a search do, and where the search begins."""
