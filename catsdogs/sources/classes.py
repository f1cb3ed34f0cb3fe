"""Parse the names of the two classes, or choose them from the names of folders.

A label is a position in the pair: 0 or 1, and -1 is unknown.
"""

from collections.abc import Sequence

from ..errors import CatsDogsError, OptionError, is_printable, printable

Classes = tuple[str, str]

CLASSES: Classes = ("cat", "dog")
"""What the classes are where nothing says otherwise."""


def parse_classes(given: str | Sequence[str]) -> Classes:
    """Return the two classes that somebody named: ``"ants,bees"``, or a sequence of two names.

    Raises
    ------
    CatsDogsError
        They are not two, or not to be told from each other or from what is no name.
    """
    names = tuple(given.split(",") if isinstance(given, str) else given)
    match names:
        case (str(first), str(second)) if all(map(_is_name, names)) and class_key(first) != class_key(second):
            return first, second
    raise OptionError(
        f"{', '.join(map(str, names)) or 'nothing'} cannot be the classes",
        "Give two different names, such as ants,bees; cat and cats are the same",
    )


def choose_classes(found: Sequence[str], display_path: str, *, default_classes: Classes | None = None) -> Classes:
    """Return the two classes of a source of which nobody said them.

    Parameters
    ----------
    found : sequence of str
        What its class folders are named, in order; empty where there are none.
    display_path : str
        The source's path, for messages.
    default_classes : pair of str, optional
        The classes of what is there already. They count where the folders say nothing else.

    Raises
    ------
    CatsDogsError
        There are more than two, and nothing says which two of them.
    """
    if default_classes and (not found or set(map(class_key, default_classes)) <= set(map(class_key, found))):
        return default_classes
    if not found:
        return CLASSES
    if len(found) > 2:
        raise CatsDogsError(
            f"{display_path} holds {len(found)} folders that may be classes: {', '.join(found)}",
            f"Name two of them, such as --classes {found[0]},{found[1]}: the others are then skipped; images "
            "without labels belong into test/",
        )
    return found[0], found[1]


def class_key(name: str) -> str:
    """Return what is the same for all names of a class: Cat, cat and cats are one."""
    key = printable(name).lower()
    return key.removesuffix("s") or key


def _is_name(name: str) -> bool:
    return name == name.strip() != "" and is_printable(name) and not set(name) & set(",/\\")
