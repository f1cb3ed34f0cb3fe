"""Run the program as a user would."""

import os
import subprocess
import sys
from pathlib import Path

import catsdogs

ROOT = Path(catsdogs.__file__).parent.parent


def command(*arguments, program=("-m", "catsdogs"), stdin=None, **environment):
    """Run a command as a user would, its output not a terminal."""
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        capture_output=True,
        text=True,
        stdin=stdin,
        cwd=ROOT,
        env=os.environ | environment,
        check=False,
    )
