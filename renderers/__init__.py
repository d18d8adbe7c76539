"""From a Plan to files for the systems that run it, one folder per target."""
