"""Studies: many plans of one fleet with something changed in each, side by side."""
