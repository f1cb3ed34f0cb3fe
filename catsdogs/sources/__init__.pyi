from .classes import Classes, parse_classes
from .files import ImageFile, image_file, image_from_stream, raise_if_system_error, unreadable_reason
from .folders import walk_archive, walk_folder
from .names import is_image
from .remote import find_remote
from .scan import Scan
from .source import Source

__all__ = [
    "Classes",
    "ImageFile",
    "Scan",
    "Source",
    "find_remote",
    "image_file",
    "image_from_stream",
    "is_image",
    "parse_classes",
    "raise_if_system_error",
    "unreadable_reason",
    "walk_archive",
    "walk_folder",
]
