"""Run the examples of the documentation; as a program, replace the outputs that the pages show.

A page's examples are its blocks of ``sh`` and ``python``, which run in order in one folder. If the next block is
``text``, it shows what the example prints; if that ends with a line ``...``, the page shows only its beginning. A
comment before an example, ``<!-- not run: needs Kaggle's site -->``, gives the reason why it is not run.
``<!-- slow: loads TensorFlow -->`` leaves it to the slow tests.

Usage: python docs/examples.py WEIGHTS [PAGE...], with a name as for --weights; `catsdogs` must be installed.
"""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import numpy as np

from catsdogs.sample import draw, write_sample

HERE = Path(__file__).parent
_FOLDERS = ("tutorials", "how-to", "reference")
PAGES = [HERE.parent / "README.md", *(page for folder in _FOLDERS for page in sorted((HERE / folder).glob("*.md")))]

KAGGLE = "dogs-vs-cats-redux-kernels-edition.zip"

_BLOCK = re.compile(
    r"^(?P<indent> *)(?:<!-- (?P<mark>not run|slow): (?P<reason>[^\n]+) -->\n+(?P=indent))?"
    r"```(?P<language>sh|python)\n(?P<code>.*?)^(?P=indent)```$"
    r"(?:(?:(?!```).)*\n(?P=indent)```text\n(?P<output>.*?)^(?P=indent)```$)?",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Example:
    """A block of code, and the output that the page shows after it.

    Parameters
    ----------
    language : str
        "sh" or "python".
    code : str
    mark : str or None
        "not run" or "slow".
    reason : str or None
        Why it is marked.
    output : str or None
    """

    language: str
    code: str
    mark: str | None
    reason: str | None
    output: str | None


def _example(match: re.Match[str]) -> Example:
    code, output = (text and dedent(text) for text in match.group("code", "output"))
    return Example(match["language"], code, match["mark"], match["reason"], output)


def read(page: Path) -> list[Example]:
    """Return the examples of a page, in order."""
    return [_example(match) for match in _BLOCK.finditer(page.read_text())]


def prepare(folder: Path, *, train: int = 200, test: int = 40) -> None:
    """Write the images that the pages name: synthetic ones, in the layouts of Kaggle and of class folders."""
    write_sample(folder / KAGGLE, train=train, test=test)
    classes = enumerate(("ants", "bees"))
    places = {f"photographs/{name}/{number}.jpg": label for label, name in classes for number in range(30)}
    places |= {f"new-images/{number}.jpg": number % 2 for number in range(1, 5)}
    for seed, (place, label) in enumerate(places.items()):
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(label, np.random.default_rng([seed, label])).save(path)


def run(example: Example, namespace: dict[str, Any], command: Callable[..., str] | None = None) -> str:
    """Run an example in the current folder, and return what it prints.

    Parameters
    ----------
    example : Example
    namespace : dict
        The names of the page's Python examples.
    command : callable, optional
        Called with the arguments of a plain line ``catsdogs ...``; returns what it prints. Bash runs all other lines.
    """
    if example.language == "python":
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(example.code, namespace)  # noqa: S102 - the pages are our own
        return printed.getvalue()
    return "".join(_run_line(line, command) for line in example.code.replace("\\\n", " ").splitlines())


def _run_line(line: str, command: Callable[..., str] | None) -> str:
    words = shlex.split(line, comments=True)
    if not words:
        return ""
    if command and re.fullmatch(r"catsdogs( [\w./,=:-]+)+", shlex.join(words)):
        return command(*words[1:])
    bash = ["bash", "-o", "pipefail", "-ec", line]
    return subprocess.run(bash, stdout=subprocess.PIPE, text=True, check=True).stdout


def replace_outputs(page: Path) -> None:
    """Run a page's examples in the current folder, and replace the outputs that it shows."""
    namespace: dict[str, Any] = {}

    def with_output(match: re.Match[str]) -> str:
        example = _example(match)
        printed = "" if example.mark == "not run" else run(example, namespace)
        if example.output is None:
            return match[0]
        if example.output.endswith("...\n"):
            printed = "".join(printed.splitlines(keepends=True)[: example.output.count("\n") - 1]) + "...\n"
        start, end = (place - match.start() for place in match.span("output"))
        return match[0][:start] + indent(printed, match["indent"]) + match[0][end:]

    page.write_text(_BLOCK.sub(with_output, page.read_text()))


def needs_artifacts(page: Path) -> bool:
    """Whether a page's examples start from the artifacts of a run; tutorials and the README start with images alone."""
    return page.parent.name in ("how-to", "reference")


def main() -> None:
    """Replace the outputs of the pages, of all of them if none are given."""
    weights, *pages = sys.argv[1:]
    os.environ["CATSDOGS_WEIGHTS"] = str(Path(weights).resolve()) if Path(weights).exists() else weights
    for page in (Path(page).resolve() for page in pages or PAGES):
        if any(example.output is not None for example in read(page)):
            with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
                prepare(Path())
                if needs_artifacts(page):
                    _run_line(f"catsdogs run {KAGGLE}", None)
                replace_outputs(page)
            print(page.relative_to(HERE.parent))


if __name__ == "__main__":
    main()
