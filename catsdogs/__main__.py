"""Starts the program, for `python -m catsdogs`."""

from .cli.app import main

if __name__ == "__main__":
    main()
