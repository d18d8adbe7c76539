"""The sections of a plan as HTML."""
