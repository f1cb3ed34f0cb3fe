"""Check and expand the paths that users give."""

import os
from pathlib import Path

from .errors import CatsDogsError


def user_path(given: str | Path) -> Path:
    """Return the path that a user gave, with ``~`` or ``~user`` at its start expanded.

    Shells expand most of these, but not the one in ``--artifacts=~/x``; notebooks expand none. ``~`` and ``~/x`` are
    always in the home folder. Another name that starts with ``~`` is a file or folder if one of that name exists: a
    shell's ``*`` may have found it. Applying this function to its own result changes nothing.

    Raises
    ------
    CatsDogsError
        There is no such user, no file can have this name, or it is empty, as an unset variable of a shell.
    """
    try:
        path = Path(given)
        valid = given != "" and b"\0" not in os.fsencode(path)
    except (TypeError, UnicodeEncodeError):
        valid = False
    if not valid:
        shown = str(given) if isinstance(given, Path) else given
        raise CatsDogsError(
            f"{shown!a} cannot be a path", "Give a path without NUL characters and surrogates; . is the current folder"
        )
    first = path.parts[0] if path.parts else ""
    if not first.startswith("~"):
        return path
    if not str(given).startswith("~") or (first != "~" and os.path.lexists(first)):  # the former is "./~x"
        return path.absolute()
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise CatsDogsError(
            f"the home folder {first} in {given} is not known",
            f"Give the full path, or ./{first} for a file or folder of that name",
        ) from error
