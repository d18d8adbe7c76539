"""From what runs to what is desired: the actions in between, and what clients notice of them."""
