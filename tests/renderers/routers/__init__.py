"""Routers that plans are rendered for: the files of each, and all of them on the same requests."""
