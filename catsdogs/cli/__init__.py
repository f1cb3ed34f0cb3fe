"""Parse the command line, call the library, and print its results."""

from .app import app
from .program import main
