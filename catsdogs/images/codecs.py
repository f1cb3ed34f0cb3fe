"""Load Pillow's decoders of six formats, without their warnings."""

import ctypes
import logging
import re
import threading
import warnings

# The decoders are named here so that no thread is the first to load one, and so that Pillow loads no other.
from PIL import (  # noqa: F401
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    _imaging,
)

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""The only decoders that are let near a file. JPEG covers MPO, in which cameras put a second picture."""

_IGNORE_PILLOW = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
"""An entry of `warnings.filters`, in the form that `warnings.filterwarnings` gives it."""

_filters_lock = threading.Lock()

# Without a handler, Python would print the few errors that Pillow logs.
logging.getLogger("PIL").addHandler(logging.NullHandler())

# Pillow's libtiff prints what it finds wrong to file descriptor 2 by itself, unless it is told otherwise.
_pillow = ctypes.CDLL(_imaging.__file__)
for _setter in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
    if hasattr(_pillow, _setter):
        getattr(_pillow, _setter)(None)


def ignore_pillow_warnings() -> None:
    """Have Pillow's warnings ignored, in all threads.

    They would reach the terminal; or be errors, where a user wants that of warnings, and decide what decodes.
    `warnings.catch_warnings` is not for threads, and undoes this where it ends in another: so look each time.
    """
    with _filters_lock:
        if warnings.filters[:1] != [_IGNORE_PILLOW]:
            warnings.filterwarnings("ignore", module=r"PIL\.")
