"""Draw a small data set of cats and dogs."""

from .drawing import OUTER, draw, write_sample

__all__ = ["OUTER", "draw", "write_sample"]
