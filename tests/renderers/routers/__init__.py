"""Every router that plans are rendered for, on the same requests."""
