"""Parse the names of the two classes, or take them from the names of folders.

A label is a position in the pair of classes, 0 or 1; -1 means unknown.
"""

from collections.abc import Sequence

from ..errors import CatsDogsError, OptionError, is_printable
from .names import class_key

Classes = tuple[str, str]

CLASSES: Classes = ("cat", "dog")
"""The default classes."""

_MAX_NAMED = 10
"""Folders that an error names."""

MIN_IMAGES = 10
"""Minimum number of readable training images of each class."""


def parse_classes(given: str | Sequence[str]) -> Classes:
    """Return the two classes that a user gave, as ``"ants,bees"`` or as a sequence of two names.

    Raises
    ------
    CatsDogsError
        There are not two names, or they are not different, or one cannot be the name of a class.
    """
    names = tuple(given.split(",") if isinstance(given, str) else given)
    match names:
        case (str(first), str(second)) if all(map(_is_name, names)) and class_key(first) != class_key(second):
            return first, second
    message = f"{','.join(map(str, names))!a} cannot be the classes"
    raise OptionError(message, "Give two different names, such as ants,bees; cat and cats count as the same name")


def choose_classes(found: Sequence[str], display_path: str, *, default_classes: Classes | None = None) -> Classes:
    """Return the two classes of a source for which the user gave none.

    Parameters
    ----------
    found : sequence of str
        Names of its class folders, in order; empty if there are none.
    display_path : str
        The source's path, for messages.
    default_classes : pair of str, optional
        The classes of the existing features or head; they are returned if the folders do not contradict them.

    Raises
    ------
    CatsDogsError
        There are more than two class folders, and `default_classes` are not among them.
    """
    if default_classes and (not found or set(map(class_key, default_classes)) <= set(map(class_key, found))):
        return default_classes
    if not found:
        return CLASSES
    if len(found) > 2:
        more = f" and {len(found) - _MAX_NAMED:,} more" if len(found) > _MAX_NAMED else ""
        raise CatsDogsError(
            f"{display_path} has {len(found):,} folders that may be classes: {', '.join(found[:_MAX_NAMED])}{more}",
            f"Select two of them, such as --classes {found[0]},{found[1]}: the others are then skipped; put images "
            "without labels into test/",
        )
    return found[0], found[1]


def label_hint(classes: Classes) -> str:
    """Return the hint for images whose labels are not known."""
    first, second = classes
    return f"Put them into folders {first}/ and {second}/, or name them {first}.1.jpg and {second}.1.jpg"


def _is_name(name: str) -> bool:
    return name == name.strip() != "" and is_printable(name) and not set(name) & set(",/\\")
