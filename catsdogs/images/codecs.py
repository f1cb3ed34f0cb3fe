"""Load Pillow's decoders of six formats, and silence their warnings."""

import ctypes
import logging
import re
import threading
import warnings

# All decoders are imported here, so that threads never load one at the same time and Pillow loads no others.
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
"""The only formats that are decoded. JPEG includes MPO, in which cameras store a second image."""

_IGNORE_PILLOW = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
"""The entry that `warnings.filterwarnings` adds to `warnings.filters`."""

_filters_lock = threading.Lock()

# Without a handler, Python prints the few errors that Pillow logs.
logging.getLogger("PIL").addHandler(logging.NullHandler())

# By default, Pillow's libtiff prints its errors and warnings to file descriptor 2.
_pillow = ctypes.CDLL(_imaging.__file__)
for _setter in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
    if hasattr(_pillow, _setter):
        getattr(_pillow, _setter)(None)


def ignore_pillow_warnings() -> None:
    """Ignore Pillow's warnings in all threads.

    Otherwise Python prints them; or it raises them as errors if the user asks for that, and such images would count as
    unreadable. `warnings.catch_warnings` is not thread-safe: when it ends in another thread, it can remove this filter.
    So the filter is checked at each call.
    """
    with _filters_lock:
        if warnings.filters[:1] != [_IGNORE_PILLOW]:
            warnings.filterwarnings("ignore", module=r"PIL\.")
