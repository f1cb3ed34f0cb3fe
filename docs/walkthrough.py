"""The notebook that `catsdogs notebook` writes comes in; walkthrough.ipynb beside this file goes out, with its outputs.

Usage: uv run docs/walkthrough.py WEIGHTS, with a name as for --weights.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

from catsdogs import notebook

HERE = Path(__file__).parent

NOTE_HINT = """\
> Run with `{}`, a stand-in for the ImageNet weights, which were not at hand: what is said of log loss and accuracy
> below is of that. `catsdogs notebook` writes the notebook for you to run."""


def main() -> None:
    """Run it in a folder that goes away; pictures become JPEGs, a fifth of what they would be as PNGs."""
    weights = sys.argv[1]
    path = Path(weights)
    os.environ["CATSDOGS_WEIGHTS"] = str(path.resolve()) if path.exists() else weights
    with tempfile.TemporaryDirectory() as folder:
        book = nbformat.read(notebook(folder), 4)
        os.chdir(folder)
        kernel = AsyncKernelManager(kernel_name="python3", transport="ipc")
        # What TensorFlow logs at its import is no part of the walkthrough.
        arguments = ["--InlineBackend.figure_formats=jpeg", "--IPKernelApp.capture_fd_output=False"]
        NotebookClient(book, km=kernel, timeout=600, record_timing=False, extra_arguments=arguments).execute()
        os.chdir(HERE)
    if weights != "imagenet":
        note = nbformat.v4.new_markdown_cell(NOTE_HINT.format(path.name), id="note")
        book.cells.insert(0, note)
    book.metadata = {"kernelspec": book.metadata["kernelspec"]}
    nbformat.write(book, HERE / "walkthrough.ipynb")


if __name__ == "__main__":
    main()
