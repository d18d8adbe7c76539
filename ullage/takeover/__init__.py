"""From servers that run, or are written down in units and compose files, to a fleet file and a state folder."""
