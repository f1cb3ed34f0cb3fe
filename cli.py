"""Starts the program from a clone: `uv run cli.py demo`."""

from catsdogs.cli.program import main

if __name__ == "__main__":
    main()
