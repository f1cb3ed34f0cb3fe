from .files import ImageFile, image_file, image_from_stream, open_zip, raise_if_system_error, unreadable_reason
from .folders import walk_folder
from .scan import Scan
from .source import Source
from .zips import walk_zip

__all__ = [
    "ImageFile",
    "Scan",
    "Source",
    "image_file",
    "image_from_stream",
    "open_zip",
    "raise_if_system_error",
    "unreadable_reason",
    "walk_folder",
    "walk_zip",
]
