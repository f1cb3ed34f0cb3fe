"""Parse the command line, call the library, and print what it returns."""

from .app import app
from .program import main
