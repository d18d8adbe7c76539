"""Documents: their commands run, their links resolve."""
