"""Read what a user gives as a path."""

import os
from pathlib import Path

from .errors import CatsDogsError


def user_path(given: str | Path) -> Path:
    """Return what a user gave as a path, ``~`` and ``~user`` at its start expanded.

    Shells expand most of these, but not that of ``--artifacts=~/x``; notebooks expand none. ``~`` and ``~/x`` are
    always the home folder. Any other name that begins with ``~`` and is there, as a shell's ``*`` finds it, is that
    file or folder. Given its own result, this function returns the same.

    Raises
    ------
    CatsDogsError
        There is no such user, or no file can have this name.
    """
    path = Path(given)
    try:
        valid = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        valid = False
    if not valid:
        raise CatsDogsError(f"{str(given)!a} cannot be a path", "Give one without NUL characters and lone surrogates")
    first = path.parts[0] if path.parts else ""
    if not first.startswith("~"):
        return path
    if not str(given).startswith("~") or (first != "~" and os.path.lexists(first)):  # the former is "./~x"
        return path.absolute()
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise CatsDogsError(
            f"the home folder that {given} begins with is not known",
            f"Give the full path; a file or folder that is itself called {first} is ./{first}",
        ) from error
