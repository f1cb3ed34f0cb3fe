"""Check and expand the paths that users give, and tell URIs from them."""

import os
import re
from pathlib import Path
from typing import TypeGuard

from .errors import CatsDogsError

_URI = re.compile(r"[A-Za-z][\w+.-]+(::[\w+.-]+)*:/")


def is_uri(given: object) -> TypeGuard[str]:
    """Whether a user gave a URI, such as ``s3://bucket/photographs``; a Path is none, as it has lost a slash."""
    return isinstance(given, str) and bool(re.match(_URI.pattern + "/", given))


def local_or_uri(given: str | Path) -> str:
    """Return the URI, or the path, that a user gave; a path as `user_path` does."""
    return str(given if is_uri(given) else user_path(given))


def user_path(given: str | Path) -> Path:
    """Return the path that a user gave, with ``~`` or ``~user`` at its start expanded.

    Shells expand most of these, but not the one in ``--artifacts=~/x``; notebooks expand none. ``~`` and ``~/x`` are
    always in the home folder. Another name that starts with ``~`` is a file or folder if one of that name exists: a
    shell's ``*`` may have found it. Applying this function to its own result changes nothing.

    Raises
    ------
    CatsDogsError
        There is no such user, no file can have this name, it is empty, as an unset variable of a shell, or a URI.
    """
    try:
        path = Path(given)
        valid = given != "" and b"\0" not in os.fsencode(path)
    except TypeError as error:
        raise CatsDogsError(f"{given!a:.200} cannot be a path", "Give one path, as a string or a Path") from error
    except UnicodeEncodeError:
        valid = False
    if not valid:
        hint = "Give a path without NUL characters and surrogates; . is the current folder"
        raise CatsDogsError(f"{str(given)!a:.200} cannot be a path", hint)
    first = path.parts[0] if path.parts else ""
    if _URI.match(str(given)) and not os.path.lexists(first):
        hint = "Give a local path here; in Python, give the URI of images as a string, not as a Path"
        raise CatsDogsError(f"{given} is a URI", hint)
    if not first.startswith("~"):
        return path
    if not str(given).startswith("~") or (first != "~" and os.path.lexists(first)):  # the former is "./~x"
        return path.absolute()
    try:
        return path.expanduser()
    except RuntimeError as error:
        message = f"the home folder {first} in {given} is not known"
        raise CatsDogsError(message, f"Give the full path, or ./{first} for a file or folder of that name") from error
