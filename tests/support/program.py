"""Run the program as a user would."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess
from unittest import mock

import catsdogs
from catsdogs.cli import main

ROOT = Path(catsdogs.__file__).parent.parent

IN_PROCESS = "import support.backbone; support.backbone.install(); import catsdogs.cli; catsdogs.cli.main()"
"""The program, to be run by `python -c`, as which it knows the backbone of NumPy."""


def command(*arguments, folder=ROOT, **environment):
    """Run a command in this process, its output not a terminal."""
    encoding = environment.get("PYTHONIOENCODING", "utf-8")
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding, write_through=True) for _ in range(2))
    code = 0
    with (
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, environment),
        mock.patch.object(sys, "argv", ["catsdogs", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
    return CompletedProcess(arguments, code, *(stream.buffer.getvalue().decode() for stream in (out, err)))


def process(*arguments, program=("-m", "catsdogs"), stdin=None, **environment):
    """Run a command in a process of its own, as a user would, its output not a terminal."""
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        capture_output=True,
        text=True,
        stdin=stdin,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")} | environment,
        check=False,
    )


STOPS = """
import math, os, signal
from catsdogs.cache import shards
shards.SHARD_ROWS, shards.SHARD_SECONDS, add, added = ROWS, math.inf, shards.ShardWriter.add, []
def add_and_stop(writer, digests, *rows):
    add(writer, digests, *rows)
    added.extend(digests)
    if len(added) - len(digests) < 1.5 * ROWS <= len(added):
        os.kill(os.getpid(), signal.SIGSTOP)
shards.ShardWriter.add = add_and_stop
"""
"""Has an extraction of one view stop when `ROWS` rows are in a shard and half as many wait for theirs, in fives."""


def start(*arguments, before=""):
    """Start a command in a process of its own, in which `before` is run first; for `with`."""
    return subprocess.Popen(
        [sys.executable, "-c", f"{before}\n{IN_PROCESS}", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        # Where the tests run in the background, Ctrl-C is ignored, and children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@contextlib.contextmanager
def stopped(*arguments, rows=10):
    """Start an extraction, give it when it has stopped as `STOPS` says, and kill it in the end."""
    with start(*arguments, before=f"ROWS = {rows}{STOPS}") as run:
        try:
            _, status = os.waitpid(run.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status), run.communicate()
            yield run
        finally:
            run.kill()


def end(run, kind):
    """End a process that has stopped by a signal; return its exit code, and what it said."""
    run.send_signal(kind)
    run.send_signal(signal.SIGCONT)
    out, err = run.communicate(timeout=300)
    return run.returncode, out + err
