"""Load Pillow's decoders of six formats, in a copy that no other code of the process uses.

Pillow has settings that change what is decoded, such as `ImageFile.LOAD_TRUNCATED_IMAGES`, `Image.MAX_IMAGE_PIXELS` and
the registered plugins. They are variables of its Python modules. So these modules are loaded a second time, with the
default settings; both copies share Pillow's C extensions, which have no such settings. Warnings and log messages of
this copy are dropped: problems are reported as reasons.
"""

import ctypes
import importlib
import io
import logging
import sys
from contextlib import suppress
from importlib.util import module_from_spec, spec_from_file_location
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import PIL

__all__ = ["FORMATS", "Image", "ImageChops", "ImageCms", "ImageOps", "JpegImagePlugin", "TiffImagePlugin"]
__all__ += ["features", "find_format", "open_image"]

_PACKAGE = "_catsdogs_pillow"

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""The only formats that are decoded. JPEG includes MPO, in which cameras store a second image."""


def _load_copy() -> None:
    """Load the copy, with all decoders, so that threads never load one at the same time."""
    spec = spec_from_file_location(_PACKAGE, PIL.__file__, submodule_search_locations=list(PIL.__path__))
    if not spec or not spec.loader:
        raise ImportError("Pillow's modules are not files")
    sys.modules[_PACKAGE] = package = module_from_spec(spec)
    spec.loader.exec_module(package)
    for extension in ("_imaging", "_imagingcms", "_webp"):
        with suppress(ImportError):  # Pillow may be built without the last two
            sys.modules[f"{_PACKAGE}.{extension}"] = importlib.import_module(f"PIL.{extension}")
    for name in ("Bmp", "Gif", "Jpeg", "Mpo", "Png", "Tiff", "WebP"):
        _copy_of(f"{name}ImagePlugin")
    for name, module in sys.modules.items():
        if name.startswith(f"{_PACKAGE}.") and hasattr(module, "warnings"):
            vars(module)["warnings"] = SimpleNamespace(warn=lambda *args, **options: None)
    logger = logging.getLogger(_PACKAGE)
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    # Pillow decodes uncompressed TIFF itself by default, and gives noise for 16-bit planes.
    _copy_of("TiffImagePlugin").READ_LIBTIFF = True


def _copy_of(name: str) -> Any:
    return importlib.import_module(f"{_PACKAGE}.{name}")


if TYPE_CHECKING:
    from PIL import Image, ImageChops, ImageCms, ImageOps, JpegImagePlugin, TiffImagePlugin, features
else:
    _load_copy()
    Image, ImageChops, ImageCms, ImageOps, JpegImagePlugin, TiffImagePlugin, features = map(
        _copy_of, ("Image", "ImageChops", "ImageCms", "ImageOps", "JpegImagePlugin", "TiffImagePlugin", "features")
    )

# By default, Pillow's libtiff prints its errors and warnings to file descriptor 2.
_pillow = ctypes.CDLL(sys.modules["PIL._imaging"].__file__)
for _setter in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
    if hasattr(_pillow, _setter):
        getattr(_pillow, _setter)(None)


def find_format(data: bytes) -> str | None:
    """Return which of `FORMATS` a file's first bytes are of."""
    return next((form for form in FORMATS if (accepts := Image.OPEN[form][1]) and accepts(data[:16])), None)


def open_image(data: bytes, form: str) -> Image.Image:
    """Open a file of one of `FORMATS`; its pixels are not decoded yet.

    `Image.open` does the same, but hides why a decoder refuses the file.
    """
    return Image.OPEN[form][0](io.BytesIO(data), "")
