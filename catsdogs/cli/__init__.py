"""The command line: options, the commands' arguments, and what is printed."""

from .app import app, main

__all__ = ["app", "main"]
