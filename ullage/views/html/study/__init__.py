"""The sections of a study as HTML."""
