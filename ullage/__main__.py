"""`python -m ullage`: the command line, also where its script is not on PATH."""

from __future__ import annotations

from ullage.cli.main import main

if __name__ == "__main__":
    main()
