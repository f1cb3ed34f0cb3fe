"""Run the program: errors become one line, and what libraries write to standard error stays off the terminal."""

import faulthandler
import io
import logging
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Never

from ..errors import CatsDogsError
from .app import app
from .console import show_error

_MAX_BYTES = 1 << 16
"""How much is shown: the end."""

_EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C (128 + SIGINT)."""


class _TerminatedError(BaseException):
    """SIGTERM has come."""


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
    with ExitStack() as stack:
        try:
            captured = stack.enter_context(tempfile.TemporaryFile())
            ours = sys.stderr.fileno() == 2
        except OSError:  # there is no room for a file, or what is in its place has no descriptor
            ours = False
        if not ours:
            yield
            return
        terminal = os.dup(2)
        sys.stderr = os.fdopen(terminal, "w", 1, sys.stderr.encoding, sys.stderr.errors, closefd=False)
        os.dup2(captured.fileno(), 2)
        faulthandler.enable(terminal)
        try:
            yield
        except Exception:
            captured.seek(0)
            os.write(terminal, captured.read()[-_MAX_BYTES:])
            raise


@diverted_stderr()
def main() -> None:
    """Start the program; what a user can mend becomes one line on standard error and exit code 1.

    SIGTERM unwinds the program as Ctrl-C does, so that rows that wait for their shard are written, and then ends it.
    """
    signal.signal(signal.SIGTERM, _raise_terminated)
    if sys.stdout is None:  # closed
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names that the terminal's encoding lacks end nothing
    try:
        app(prog_name="catsdogs")
    except CatsDogsError as error:
        _fail(error)
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        _fail(CatsDogsError(what, "Mend that, and run the same command again"))
    except MemoryError:
        _fail(CatsDogsError("there is not enough memory", "What is done is kept: make some free, and run it again"))
    except _TerminatedError:
        os.kill(os.getpid(), signal.SIGTERM)
    except (SystemExit, KeyboardInterrupt) as ended:  # the latter before Typer has begun
        if getattr(ended, "code", _EXIT_INTERRUPTED) != _EXIT_INTERRUPTED:
            raise
        print("interrupted: nothing that was done is lost", file=sys.stderr)
        sys.exit(_EXIT_INTERRUPTED)


def _raise_terminated(number: int, frame: object) -> Never:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # another one ends it at once
    raise _TerminatedError


def _fail(error: CatsDogsError) -> None:
    if os.environ.get("CATSDOGS_DEBUG") == "1":
        raise error
    show_error(error)
    sys.exit(1)
