"""Run the program as a user would."""

import contextlib
import io
import os
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


def command(*arguments, **environment):
    """Run a command in this process, its output not a terminal."""
    encoding = environment.get("PYTHONIOENCODING", "utf-8")
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding, write_through=True) for _ in range(2))
    code = 0
    with (
        contextlib.chdir(ROOT),
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
