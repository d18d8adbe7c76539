"""A plan as HTML: the fragment that a notebook shows, and a page to send around. No scripts, nothing from a network."""
