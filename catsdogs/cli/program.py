"""Run the program: report errors in one line, and keep the output of other libraries off standard error."""

import atexit
import faulthandler
import gc
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

from typer.exceptions import Abort, TyperException

from ..errors import CatsDogsError, OptionError
from .app import app
from .console import show_error

_MAX_BYTES = 1 << 16
"""Of the libraries' output, the last part that is shown after an unexpected error."""

_NUMBERS = {"a valid int": "a whole number", "a valid float": "a number"}
"""What an option needs, by Typer's words for it."""

_EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C (128 + SIGINT)."""


class _TerminatedError(BaseException):
    """The process received SIGTERM."""


@contextmanager
def diverted_stderr() -> Iterator[None]:
    """Redirect file descriptor 2 to a file, but not `sys.stderr`; after an unexpected error, print that file.

    TensorFlow logs to descriptor 2 before it reads its own settings. Nothing is redirected with CATSDOGS_DEBUG=1, or
    if `sys.stderr` is not descriptor 2.
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
            redirectable = sys.stderr.fileno() == 2
        except OSError:  # no space for a file, or `sys.stderr` has no descriptor
            redirectable = False
        if not redirectable:
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
    """Start the program. An error that the user can fix is one line on standard error; the exit code is then 1 or 2.

    SIGTERM is handled like Ctrl-C, so that rows which are not yet in a shard are written before the program ends.
    """
    signal.signal(signal.SIGTERM, _raise_terminated)
    # Imports make many objects that stay: look for garbage less often, and not when the program ends.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    # `openvino.convert_model`, which the commands do not use, takes a third of OpenVINO's import.
    sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]
    if os.environ.get("COLUMNS", "").strip("0") == "":  # a width of 0: rich would print nothing
        os.environ.pop("COLUMNS", None)
    if sys.stdout is None:  # closed
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for names that the encoding cannot represent
    try:
        sys.exit(app(prog_name="catsdogs", standalone_mode=False))
    except TyperException as error:
        _fail_usage(error)
    except CatsDogsError as error:
        _fail(error)
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
        _fail(CatsDogsError(what, "Fix this and rerun the command"))
    except MemoryError:
        _fail(CatsDogsError("there is not enough memory", "Free some memory and rerun; finished work is kept"))
    except (Abort, EOFError) as error:  # Typer raises Abort from EOFError
        reason = str(error.__cause__ or error)
        _fail(CatsDogsError(f"a file or a stream ends too early{reason and f' ({reason})'}", "Fix this and rerun"))
    except _TerminatedError:
        os.kill(os.getpid(), signal.SIGTERM)
    except (SystemExit, KeyboardInterrupt) as ended:  # the latter before Typer starts
        if getattr(ended, "code", _EXIT_INTERRUPTED) != _EXIT_INTERRUPTED:
            raise
        print("interrupted: finished work is kept. Rerun the command to continue.", file=sys.stderr)
        sys.exit(_EXIT_INTERRUPTED)


def _raise_terminated(number: int, frame: object) -> Never:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends the program immediately
    raise _TerminatedError


def _fail(error: CatsDogsError) -> None:
    if os.environ.get("CATSDOGS_DEBUG") == "1":
        raise error
    show_error(str(error))
    sys.exit(2 if isinstance(error, OptionError) else 1)


def _fail_usage(error: TyperException) -> None:
    """Report Typer's own errors like all others."""
    message = " ".join(error.format_message().replace("(s) ", "s ").split())
    for theirs, number in _NUMBERS.items():
        message = message.replace(f" is not {theirs}", f" is not {number}")
    context = getattr(error, "ctx", None)
    sentence = message[:1].lower() + message[1:] + ("" if message.endswith((".", "?")) else ".")
    show_error(f"{sentence} See {context.command_path if context else 'catsdogs'} --help.")
    sys.exit(error.exit_code)
