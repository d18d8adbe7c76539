"""Processes that we start: the table of them, what the kernel says about them, and their logs."""
