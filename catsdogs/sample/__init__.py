"""Generate a small data set of synthetic images of cats and dogs."""

from .archive import OUTER, write_sample
from .drawing import draw
