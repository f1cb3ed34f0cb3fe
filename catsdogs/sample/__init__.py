"""Draw a small data set of cats and dogs."""

from .archive import OUTER, write_sample
from .drawing import draw
