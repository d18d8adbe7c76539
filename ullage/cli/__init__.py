"""The command line: one module per family of commands. Each command imports its packages only when it runs."""
