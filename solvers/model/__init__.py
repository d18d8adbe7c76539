"""What a linear program sees of a Problem: shapes worth looking at, slots, rows and columns."""
