"""A seed comes in; out goes a small data set of drawn cats and dogs."""

from .drawing import OUTER, draw, write_sample

__all__ = ["OUTER", "draw", "write_sample"]
