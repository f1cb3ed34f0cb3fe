"""Give every command the shared options, and print its output."""

import inspect
import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import wraps
from typing import Any

import typer
from typer.core import MarkupMode, TyperCommand, TyperGroup
from typer.exceptions import TyperException

import catsdogs

from ..errors import OptionError, printable
from ..paths import is_uri
from .console import Line, show
from .options import Json, Quiet, Verbose, Wait
from .progress import progress_bar, show_step

_MIN_COLUMNS = 60
"""In a narrower terminal Rich would cut the names of options, so the help is plain text."""

_SHARED = {"as_json": Json, "quiet": Quiet, "verbose": Verbose}


@dataclass(frozen=True)
class Output:
    """The output of a command.

    Parameters
    ----------
    to_json : callable
        Returns what --json prints.
    text : iterable of Line, or callable
        What is printed otherwise, or a function that prints it.
    is_summary : bool
        Whether the text only summarises what was done, and --quiet omits it.
    failed : bool
        Whether the exit code is 1.
    """

    to_json: Callable[[], object]
    text: Iterable[Line] | Callable[[], object]
    is_summary: bool = True
    failed: bool = False


def with_shared_options(function: Callable[..., Output], locks: str = "") -> Callable[..., None]:
    """Return a command that also accepts --json, --quiet and --verbose, and prints the output of `function`.

    If `function` has a parameter `as_json`, that option is given to it. If `locks` is the name of a parameter, such as
    "artifacts", the command accepts --wait, and then locks that folder first.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def command(*, as_json: bool, quiet: bool, verbose: bool, wait: bool = False, **options: Any) -> None:
        wait = wait and not options.get("dry_run")  # which writes nothing
        if wait and is_uri(options[locks]):
            raise OptionError("--wait has no effect at a URI, which has no lock", "Leave it out")
        with (
            _log_to_stderr(verbose),
            progress_bar(not quiet),
            catsdogs.lock(options[locks], progress=show_step) if wait else nullcontext(),
        ):
            output = function(**options, **({"as_json": as_json} if "as_json" in signature.parameters else {}))
        if as_json:
            print(json.dumps(output.to_json(), indent=2))
        elif not (quiet and output.is_summary):
            output.text() if callable(output.text) else show(output.text)
        if output.failed:
            raise typer.Exit(1)

    own = [parameter for name, parameter in signature.parameters.items() if name != "as_json"]
    kind = inspect.Parameter.KEYWORD_ONLY
    options = ({"wait": Wait} if locks else {}) | _SHARED
    shared = [inspect.Parameter(name, kind, default=False, annotation=option) for name, option in options.items()]
    command.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
    return command


class _Help:
    """Fit the help to the terminal's width at that time, and show no type beside flags."""

    rich_markup_mode: MarkupMode

    def get_help(self, ctx: Any) -> Any:
        columns = shutil.get_terminal_size().columns
        self.rich_markup_mode = "rich" if columns >= _MIN_COLUMNS else None
        ctx.terminal_width = min(columns, 80)
        for parameter in self.get_params(ctx):  # type: ignore[attr-defined]
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""
        return super().get_help(ctx)  # type: ignore[misc]


class Command(_Help, TyperCommand):
    """A command with such a help; an empty argument is an error, as it would be the current folder."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: D102 - overrides Click's method
        if any(arg == "" or (arg.startswith("--") and arg.endswith("=")) for arg in args):
            raise typer.BadParameter("An argument is empty, as an unset variable of a shell is.", ctx)
        try:
            return super().parse_args(ctx, args)
        except TyperException as error:  # errors of the options' syntax do not name the command
            error.ctx = ctx  # type: ignore[attr-defined]
            raise


class Group(_Help, TyperGroup):
    """The program with such a help."""


class _StderrHandler(logging.Handler):
    """Write to what is standard error at that time: a progress bar replaces it."""

    def emit(self, record: logging.LogRecord) -> None:
        print(printable(self.format(record)), file=sys.stderr)


@contextmanager
def _log_to_stderr(verbose: bool) -> Iterator[None]:
    """Write warnings of the library's loggers, or if `verbose` all records, to standard error."""
    logger, handler = logging.getLogger("catsdogs"), _StderrHandler()
    handler.setFormatter(logging.Formatter(f"{'%(levelname)s %(name)s' if verbose else 'warning'}: %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else level)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
