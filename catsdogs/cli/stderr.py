"""Keep from the terminal what libraries write to standard error, unless it explains how the program ended."""

import faulthandler
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_MAX_BYTES = 1 << 16
"""How much is shown: the end."""

_SHOW_AFTER_CRASH = f"""
trap '' INT TERM HUP QUIT
IFS= read -r line || exit 0
tail -c {_MAX_BYTES} <&1 >&2
{{ printf '%s\\n' "$line"; cat; }} >&2
"""
"""Program of a shell that shows the file that is its standard output as soon as Python's last traceback is its input.

A process that crashes cannot show anything but that traceback, and gives none if it ends in another way."""


@contextmanager
def diverted_stderr() -> Iterator[None]:
    """Lead file descriptor 2 to a file, and `sys.stderr` to where it led; what ends the program shows the file.

    TensorFlow logs to descriptor 2 before it has read any of its own settings. All stays as it is with
    CATSDOGS_DEBUG=1, and where `sys.stderr` is not descriptor 2.
    """
    if os.environ.get("CATSDOGS_DEBUG") == "1":
        yield
        return
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(keras|tensorflow)\b")
    if sys.stderr is None:  # closed: the next file that is opened would get descriptor 2
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        sys.stderr = os.fdopen(2, "w", closefd=False)
    if (opened := _divert()) is None:
        yield
        return
    watching, terminal, shown = opened
    with watching:
        faulthandler.enable(watching.stdin or terminal)
        try:
            yield
        except Exception:
            os.write(terminal, os.read(shown, _MAX_BYTES))
            raise
        finally:
            faulthandler.enable(terminal)


def _divert() -> tuple["subprocess.Popen[bytes]", int, int] | None:
    """Divert both, and return the shell that watches, the terminal, and the file as it is to be shown."""
    try:
        if sys.stderr.fileno() != 2:
            return None
        written, shown = _open_unnamed_file()
        terminal = os.dup(2)
        shell = ["/bin/sh", "-c", _SHOW_AFTER_CRASH]
        watching = subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=shown, stderr=terminal)
    except OSError:  # it is not a file, or there is no shell
        return None
    sys.stderr = os.fdopen(terminal, "w", 1, sys.stderr.encoding, sys.stderr.errors, closefd=False)
    os.dup2(written, 2)
    return watching, terminal, shown


def _open_unnamed_file() -> tuple[int, int]:
    """Open a file that has no name any more, for writing and for reading from its start."""
    if hasattr(os, "memfd_create"):
        written = os.memfd_create("stderr")
        return written, os.open(f"/proc/self/fd/{written}", os.O_RDONLY)
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        return os.dup(file.fileno()), os.open(file.name, os.O_RDONLY)
