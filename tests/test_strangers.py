"""Untrusted files made to do harm: pickles, and names that contain markup or escape codes."""

import contextlib
import csv
import io
import pickle
import shutil
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from support import program
from support.program import command
from support.tables import assert_no_formula

import catsdogs
from catsdogs.errors import is_printable
from catsdogs.storage import to_cell


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


UNPICKLED = []
WATCHING = []
"""Not empty while unpickling is recorded; an audit hook cannot be removed from a process."""


@pytest.fixture
def unpickled():
    """The objects that are unpickled during a test."""
    if not UNPICKLED:
        sys.addaudithook(lambda event, about: WATCHING and event == "pickle.find_class" and UNPICKLED.append(about))
    WATCHING.append(True)
    yield UNPICKLED
    WATCHING.clear()


@pytest.fixture(scope="module")
def evil(tmp_path_factory, draw, encode, write_folder, tiny_backbone):
    """Data, and artifacts in which every file that could be a pickle is one that creates a file."""
    folder = tmp_path_factory.mktemp("evil")
    images = {f"train/{k}.{n}.png": encode(draw(n + 50 * i)) for i, k in enumerate(("cat", "dog")) for n in range(10)}
    data = write_folder(folder / "data", images | {"test/1.png": encode(draw(99))})
    catsdogs.run(data, artifacts=folder / "artifacts", weights=str(tiny_backbone))
    (folder / "artifacts/head.joblib").write_bytes(pickle.dumps(Evil(folder / "touched")))
    (data / "test/2.png").write_bytes(pickle.dumps(Evil(folder / "touched")))
    return folder


def test_no_command_unpickles_anything(evil, unpickled):
    shutil.copytree(evil / "artifacts", evil / "spoiled")
    for path in (evil / "spoiled").rglob("*.npy"):
        np.save(path, np.array([Evil(evil / "touched")] * 12, object), allow_pickle=True)
    np.savez(evil / "spoiled/head.npz", coefficients=np.array([Evil(evil / "touched")], object), intercept=0.0)
    data = evil / "data"
    commands = [
        ["verify"],
        ["info"],
        ["submit"],
        ["train"],
        ["report"],
        ["predict", data / "test"],
        ["extract", data],
        ["run", data],
    ]
    # What is spoiled is mended by "extract" and "run": those before them get it as it is.
    for folder in ("artifacts", "spoiled"):
        for arguments in commands:
            command(*arguments, "--artifacts", evil / folder)
            assert unpickled == [], (folder, arguments)
    joblib.load(data / "test/2.png")  # the same pickle
    assert unpickled  # so it would have been noticed
    assert (evil / "touched").exists()


MARKUP, CODES = "<img src=x onerror=alert(1)>", "\x1b[31mred\x1b]0;title\x07\x9b2J\u202egpj"
FORMULA = '=cmd|"x"!A1, and "quoted"'


def test_markup_codes_and_formulas_in_names_are_text_everywhere(tmp_path, draw, encode, tiny_backbone):
    data, artifacts = tmp_path / "data", tmp_path / "artifacts"
    for folder in ("train", "test"):
        (data / folder).mkdir(parents=True)
    for number in range(10):
        for kind in ("cat", "dog"):
            (data / f"train/{kind}.{number}.png").write_bytes(encode(draw(number + 50 * (kind == "dog"))))
    names = [MARKUP, CODES, "می\u200cروم\u3000太郎", FORMULA, "\udcff\udcfe"]
    for number, name in enumerate(names):
        (data / f"test/{name} good.png").write_bytes(encode(draw(200 + number)))
        (data / f"test/{name} bad.png").write_bytes(b"")
    arguments = ["run", data, "--artifacts", artifacts, "--weights", tiny_backbone]
    done = command(*arguments, FORCE_COLOR="1", TERM="xterm")
    assert done.returncode == 0, done.stderr
    assert "\x1b[1m" in done.stdout
    own = done.stdout.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert all(is_printable(line) for line in own.splitlines())
    assert "می\u200cروم\u3000太郎 bad: the file is empty" in own
    assert r"\x1b[31mred\x1b]0;title\x07\xc2\x9b2J\xe2\x80\xaegpj bad: the file is empty" in own
    assert f"{MARKUP} bad: the file is empty" in own  # rich would take [ ] for its markup, and HTML is none of ours
    shown = {f"{to_cell(name)} {how}" for name in names for how in ("good", "bad")}
    for table in ("submission.csv", "features/test/unreadable.csv"):
        with (artifacts / table).open(newline="", encoding="utf-8") as file:
            ids = {row["id"] for row in csv.DictReader(file)}
        assert ids == (shown if table == "submission.csv" else {name for name in shown if name.endswith("bad")})
        assert b"\x1b" not in (artifacts / table).read_bytes()
    assert sorted(catsdogs.load_features(artifacts, split="test").ids.tolist()) == sorted(shown)


CELLS = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(1)",
    " =1",
    '"=1',
    "\u3000=1",
    "\uff1d1+1",
    "x;=1",
    'x; "=1',
    "\t=1",
    "-5",
    "a=b",
]


def test_no_cell_of_any_table_is_a_formula_and_ids_stay_the_same(
    tmp_path, draw, encode, write_folder, tiny_backbone, monkeypatch
):
    kinds = enumerate(("-cats", "=dogs"))
    images = {f"train/{kind}/{n}.png": encode(draw(n + 50 * label)) for label, kind in kinds for n in range(40)}
    images |= {f"test/{name}.png": encode(draw(200 + n)) for n, name in enumerate(CELLS)}
    data = write_folder(tmp_path / "data", images | {f"test/{name} bad.png": b"" for name in CELLS})
    artifacts = ["--artifacts", tmp_path / "artifacts"]
    assert command("run", data, *artifacts, "--weights", tiny_backbone).returncode == 0
    assert command("prepare", data, tmp_path / "prepared").returncode == 0
    monkeypatch.setattr(program, "ROOT", data / "test")  # so that the paths begin as the names do
    predicted = command("predict", *artifacts, "--csv", "--", *(path.name for path in (data / "test").iterdir()))
    assert predicted.stderr == ""
    tables = {path.name: path.read_text() for path in sorted(tmp_path.rglob("*.csv"), reverse=True)}
    tables["predicted"] = predicted.stdout
    assert len(tables) == 6
    for content in tables.values():
        for separator in ",;":
            assert_no_formula(content, separator)
    rows = {name: list(csv.DictReader(io.StringIO(content, newline=""))) for name, content in tables.items()}
    ids = {
        split: catsdogs.load_features(tmp_path / "artifacts", split=split).ids.tolist() for split in ("train", "test")
    }
    assert ids["train"][0] == r"\x2dcats.0"
    assert [row["id"] for row in rows["predictions.csv"]] == ids["train"]
    assert [row["id"] for row in rows["submission.csv"]] == ids["test"]
    assert [row["id"] for row in rows["unreadable.csv"]] == [name for name in ids["test"] if name.endswith(" bad")]
    assert {row["image"] for row in rows["predicted"]} == {to_cell(f"{name}.png") for name in ids["test"]}
    assert {row["label"] for row in rows["predicted"]} <= {r"\x2dcats", r"\x3ddogs", ""}
    assert {"-5", r"\x3d1+1"} <= set(ids["test"])
    suspects = rows["suspects.csv"]
    assert suspects
    done = catsdogs.train(tmp_path / "artifacts", exclude=tmp_path / "artifacts/suspects.csv")
    assert done.metrics.excluded == len(suspects)


def test_square_brackets_in_a_name_are_not_terminal_markup(tmp_path):
    from catsdogs.cli.console import show, show_error

    with contextlib.redirect_stdout(io.StringIO()) as said:
        show([("image", "[bold red]name[/] [link=file:///etc]x[/link]")])
    assert "[bold red]name[/] [link=file:///etc]x[/link]" in said.getvalue()
    with contextlib.redirect_stderr(io.StringIO()) as said:
        show_error("[bold]a[/] is \x1b[0m. None.")
    assert said.getvalue() == "error: [bold]a[/] is \\x1b[0m. None.\n"
