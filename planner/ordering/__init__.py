"""In which order replicas stop and start where not everything has room at once: searched for, weighed, and what would spare the dip."""
