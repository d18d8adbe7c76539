"""The exact engine: linear relaxation, bounds, and plans in whole numbers."""
