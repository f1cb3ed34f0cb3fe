"""Files that a stranger may have made to harm: pickles, names that are markup or codes."""

import contextlib
import csv
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import catsdogs
from catsdogs import CatsDogsError
from catsdogs.errors import printable


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


COMMANDS = """
import json, sys
from catsdogs.cli import main
unpickled = []
sys.addaudithook(lambda event, about: event == "pickle.find_class" and unpickled.append(about))
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["catsdogs", *arguments]
    try:
        main()
    except SystemExit as ended:
        print("ENDED", *arguments, ended.code)
    print("UNPICKLED", unpickled)
import joblib
joblib.load("data/test/2.png")  # the same pickle
print("AT LAST", unpickled)
"""


@pytest.fixture(scope="module")
def evil(tmp_path_factory, draw, encode, write_folder, tiny_backbone):
    """Data, and artifacts of it in which every file that could be a pickle is one that touches a file."""
    folder = tmp_path_factory.mktemp("evil")
    images = {f"train/{k}.{n}.png": encode(draw(n + 50 * i)) for i, k in enumerate(("cat", "dog")) for n in range(10)}
    data = write_folder(folder / "data", images | {"test/1.png": encode(draw(99))})
    catsdogs.run(data, artifacts=folder / "artifacts", weights=str(tiny_backbone))
    (folder / "artifacts/head.joblib").write_bytes(pickle.dumps(Evil(folder / "touched")))
    (data / "test/2.png").write_bytes(pickle.dumps(Evil(folder / "touched")))
    return folder


def test_no_command_unpickles_anything(evil):
    shutil.copytree(evil / "artifacts", evil / "spoiled")
    for path in (evil / "spoiled").rglob("*.npy"):
        np.save(path, np.array([Evil(evil / "touched")] * 12, object), allow_pickle=True)
    np.savez(evil / "spoiled/head.npz", coefficients=np.array([Evil(evil / "touched")], object), intercept=0.0)
    commands = [
        ["verify"],
        ["info"],
        ["submit"],
        ["train"],
        ["report"],
        ["predict", "data/test"],
        ["extract", "data"],
        ["run", "data"],
    ]
    # What is spoiled is mended by "extract" and "run": those before them get it as it is.
    given = [[*command, "--artifacts", folder] for folder in ("artifacts", "spoiled") for command in commands]
    arguments = [sys.executable, "-c", COMMANDS, json.dumps(given)]
    said = subprocess.run(arguments, capture_output=True, text=True, cwd=evil, check=True).stdout
    assert said.count("ENDED") == said.count("UNPICKLED []") == len(given)
    assert "UNPICKLED []" not in said.rpartition("AT LAST")[2]
    assert (evil / "touched").exists()  # so it would have been noticed


MARKUP, CODES = "<img src=x onerror=alert(1)>", "\x1b[31mred\x1b]0;title\x07\x9b2J\u202egpj"
FORMULA = '=cmd|"x"!A1, and "quoted"'


def test_names_that_are_markup_codes_or_formulas_are_names_everywhere(tmp_path, draw, encode, tiny_backbone):
    data, artifacts = tmp_path / "data", tmp_path / "artifacts"
    for folder in ("train", "test"):
        (data / folder).mkdir(parents=True)
    for number in range(10):
        for kind in ("cat", "dog"):
            (data / f"train/{kind}.{number}.png").write_bytes(encode(draw(number + 50 * (kind == "dog"))))
    names = [MARKUP, CODES, FORMULA, "\udcff\udcfe"]
    for number, name in enumerate(names):
        (data / f"test/{name} good.png").write_bytes(encode(draw(200 + number)))
        (data / f"test/{name} bad.png").write_bytes(b"")
    command = [sys.executable, "-m", "catsdogs", "run", data, "--artifacts", artifacts, "--weights", tiny_backbone]
    environment = os.environ | {"FORCE_COLOR": "1", "TERM": "xterm"}
    done = subprocess.run(command, capture_output=True, env=environment, check=True)
    said = done.stdout.decode()
    own = said.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert all(line.isprintable() for line in own.splitlines())
    assert r"\x1b[31mred\x1b]0;title\x07\xc2\x9b2J\xe2\x80\xaegpj bad: the file is empty" in own
    assert f"{MARKUP} bad: the file is empty" in own  # rich would take [ ] for its markup, and HTML is none of ours
    shown = {f"{printable(name)} {how}" for name in names for how in ("good", "bad")}
    for table in ("submission.csv", "features/test/unreadable.csv"):
        with (artifacts / table).open(newline="", encoding="utf-8") as file:
            ids = {row["id"] for row in csv.DictReader(file)}
        assert ids == (shown if table == "submission.csv" else {name for name in shown if name.endswith("bad")})
        assert b"\x1b" not in (artifacts / table).read_bytes()
    assert sorted(catsdogs.load_features(artifacts, "test").ids.tolist()) == sorted(shown)


def test_square_brackets_in_a_name_are_no_markup_of_the_terminal(tmp_path):
    from catsdogs.cli.output import show, show_error

    with contextlib.redirect_stdout(io.StringIO()) as said:
        show([("image", "[bold red]name[/] [link=file:///etc]x[/link]")])
    assert "[bold red]name[/] [link=file:///etc]x[/link]" in said.getvalue()
    with contextlib.redirect_stderr(io.StringIO()) as said:
        show_error(CatsDogsError("[bold]a[/] is \x1b[0m", "None"))
    assert said.getvalue() == "error: [bold]a[/] is \\x1b[0m. None.\n"
