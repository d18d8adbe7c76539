"""Plans as text and pictures, and why they are as they are."""
