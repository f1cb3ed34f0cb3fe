import re
from pathlib import Path

import nbformat
import pytest
from support.program import process

import catsdogs
from catsdogs import CatsDogsError, notebook

ROOT = Path(catsdogs.__file__).parent.parent
SHIPPED, IN_DOCS = ROOT / "catsdogs/commands/walkthrough.ipynb", ROOT / "docs/walkthrough.ipynb"


def code_of(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def outputs_of(book):
    return [output for cell in code_of(book) for output in cell.outputs]


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom_in_a_fresh_kernel(tmp_path, monkeypatch, keras_backbone):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CATSDOGS_WEIGHTS", str(keras_backbone))
    from nbclient import NotebookClient

    book = nbformat.read(notebook(), 4)
    NotebookClient(book, timeout=600).execute()
    assert [cell.execution_count for cell in code_of(book)] == list(range(1, len(code_of(book)) + 1))
    kinds = [output.output_type for output in outputs_of(book)]
    assert (set(kinds), kinds.count("display_data")) == ({"stream", "display_data"}, 7)
    assert all("image/png" in output.data for output in outputs_of(book) if output.output_type == "display_data")
    assert [output.text for output in outputs_of(book) if output.get("name") == "stderr"] == []
    rows = (tmp_path / "walkthrough/artifacts/submission.csv").read_text().splitlines()
    assert (rows[0], len(rows)) == ("id,label", 41)
    assert {path.name for path in tmp_path.iterdir()} <= {"walkthrough.ipynb", "walkthrough", "home"}


def test_what_is_shipped_has_no_outputs_and_no_paths_of_a_machine():
    book = nbformat.read(SHIPPED, 4)
    nbformat.validate(book)
    assert len(book.cells) <= 25
    for cell in book.cells:
        assert cell.metadata == {}
    for cell in code_of(book):
        assert (cell.outputs, cell.execution_count) == ([], None)
    assert not re.search(r"/(tmp|home|root|Users|usr|work)/", SHIPPED.read_text())


def test_the_copy_in_the_docs_is_the_same_with_outputs_and_their_origin():
    note, *cells = nbformat.read(IN_DOCS, 4).cells
    assert [cell.source for cell in cells] == [cell.source for cell in nbformat.read(SHIPPED, 4).cells]
    assert "stand-in" in note.source
    assert all(cell.outputs for cell in cells if cell.cell_type == "code" and cell.execution_count > 1)
    assert all(cell.metadata == {} for cell in (note, *cells))
    assert not re.search(r"/(tmp|home|root|Users|usr|work)/", IN_DOCS.read_text())


def test_a_file_that_is_there_is_never_overwritten(tmp_path):
    assert notebook(tmp_path) == tmp_path / "walkthrough.ipynb"
    assert (tmp_path / "walkthrough.ipynb").read_bytes() == SHIPPED.read_bytes()
    (tmp_path / "walkthrough.ipynb").write_text("mine")
    with pytest.raises(CatsDogsError, match=r"walkthrough\.ipynb exists\. Rename it"):
        notebook(tmp_path)
    assert (tmp_path / "walkthrough.ipynb").read_text() == "mine"


def test_the_command_writes_into_the_current_folder_and_says_what_opens_it(tmp_path):
    program = ("-c", f"import os; os.chdir({str(tmp_path)!r}); from catsdogs.cli import main; main()")
    paths = {"PYTHONPATH": str(ROOT)}  # as the program leaves the folder that it is in
    done = process("notebook", program=program, **paths)
    assert (done.returncode, done.stderr) == (0, "")
    assert "jupyter lab walkthrough.ipynb" in done.stdout
    assert (tmp_path / "walkthrough.ipynb").read_bytes() == SHIPPED.read_bytes()
    done = process("notebook", program=program, **paths)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: walkthrough.ipynb exists. Rename it, or change to another folder.\n"
