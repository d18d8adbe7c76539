"""From what people declare to a checked plan: pure, without processes, network or solver libraries."""
