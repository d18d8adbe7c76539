"""Studies as text, files and pictures."""
