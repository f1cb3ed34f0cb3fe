"""Record the demo and predictions in a terminal of 80 columns, and write the output as an SVG.

    python docs/recording.py docs/recording.svg --weights random

The commands run in a pseudo-terminal, on the synthetic images of the demo, in a temporary folder. The progress bar is
not recorded, because it disappears when a command has finished.
"""

import argparse
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import zipfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from catsdogs.sample import write_sample

COLUMNS = 80

PREDICTED = ("cat.0.jpg", "dog.0.jpg", "dog.1.jpg")
"""Images for `predict`, drawn with another seed than that of the demo."""


def main() -> None:
    """Record `demo` and `predict`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("svg", type=Path)
    parser.add_argument("--weights", default="random")
    given = parser.parse_args()
    weights = str(Path(given.weights).resolve()) if Path(given.weights).exists() else given.weights
    with tempfile.TemporaryDirectory() as folder:
        _draw_images(Path(folder))
        screen = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
        for arguments in (
            ["demo", "--weights", weights],
            ["predict", *PREDICTED, "--artifacts", "artifacts/demo"],
        ):
            typed = [Path(argument).name if argument == weights else argument for argument in arguments]
            screen.print(Text.assemble(("$ ", "bold green"), " ".join(["catsdogs", *typed])))
            for line in run(["catsdogs", *arguments], Path(folder)).splitlines():
                shown = Text.from_ansi(line)
                for part in shown.divide(range(COLUMNS, len(shown), COLUMNS)):  # as a terminal wraps lines
                    screen.print(part, soft_wrap=True)
            screen.print()
    # An SVG that is shown as an image must not load fonts.
    form = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    svg = screen.export_svg(title="catsdogs", code_format=form, unique_id="recording")
    given.svg.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n")


def run(command: list[str], folder: Path) -> str:
    """Run a command in a pseudo-terminal and return its standard output; standard error is not recorded.

    Raises
    ------
    CalledProcessError
        The command failed.
    """
    inside, outside = pty.openpty()
    fcntl.ioctl(outside, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        command,
        stdout=outside,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=environment | {"PATH": path, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
    )
    os.close(outside)
    output = b""
    try:
        while block := os.read(inside, 65536):
            output += block
    except OSError:  # raised by Linux when the program has finished
        pass
    os.close(inside)
    _, errors = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, output, errors)
    return output.decode().replace("\r\n", "\n")


def _draw_images(folder: Path) -> None:
    sample = folder / "sample.zip"
    write_sample(sample, train=4, test=2, seed=1)
    with zipfile.ZipFile(sample) as outer, zipfile.ZipFile(io.BytesIO(outer.read("train.zip"))) as train:
        for name in train.namelist():
            if Path(name).name in PREDICTED:
                (folder / Path(name).name).write_bytes(train.read(name))
    sample.unlink()


if __name__ == "__main__":
    main()
