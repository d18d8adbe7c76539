"""The command line: one module per family of verbs, each importing what it needs only when it runs."""
