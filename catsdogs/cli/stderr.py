"""Keep from the terminal what libraries write to standard error, unless it explains how the program ended."""

import faulthandler
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_MAX_BYTES = 1 << 16
"""How much is shown: the end."""


@contextmanager
def diverted_stderr() -> Iterator[None]:
    """Lead file descriptor 2 to a file, and `sys.stderr` to where it led; an unexpected error shows the file.

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
    try:
        terminal = os.dup(sys.stderr.fileno())
    except OSError:  # somebody has put something else in its place
        yield
        return
    with tempfile.TemporaryFile() as captured:
        sys.stderr = os.fdopen(terminal, "w", 1, sys.stderr.encoding, sys.stderr.errors, closefd=False)
        os.dup2(captured.fileno(), 2)
        faulthandler.enable(terminal)
        try:
            yield
        except Exception:
            captured.seek(0)
            os.write(terminal, captured.read()[-_MAX_BYTES:])
            raise
