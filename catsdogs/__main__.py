"""Starts the program, for `python -m catsdogs`."""

from .cli.program import main

if __name__ == "__main__":
    main()
