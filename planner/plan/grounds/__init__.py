"""What a plan expects, and why it is believed."""
