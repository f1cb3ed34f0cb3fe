"""`user_path`, and that every public function uses it for its paths."""

import os
import pwd
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.program import command

import catsdogs
from catsdogs import CatsDogsError
from catsdogs.paths import user_path

ME = pwd.getpwuid(os.getuid())


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home folder, and an empty current folder beside it."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


@pytest.mark.parametrize("kind", [str, Path])
def test_a_tilde_is_the_home_folder_only_at_the_start(home, kind):
    assert user_path(kind("~")) == home
    assert user_path(kind("~/a/b.jpg")) == home / "a/b.jpg"
    assert user_path(kind(f"~{ME.pw_name}/a")) == Path(ME.pw_dir, "a")
    for given in ("a.jpg", "a/~/b.jpg", "/~/a", "a~", "."):
        assert user_path(kind(given)) == Path(given)


def test_an_existing_name_that_starts_with_a_tilde_is_not_expanded(home):
    here = Path.cwd()
    for name in ("~a.jpg", "~$b.jpg", f"~{ME.pw_name}"):
        (here / name).touch()
        assert user_path(name) == user_path(Path(name)) == here / name
    (here / "~link").symlink_to("nowhere")
    assert user_path("~link/x") == here / "~link/x"
    (here / "~").mkdir()
    assert user_path("~") == home
    assert user_path("./~") == here / "~"
    assert user_path("./~new/x") == here / "~new/x"
    for given in ("~a.jpg", "./~", "~", "~link/x", "a"):
        assert user_path(user_path(given)) == user_path(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("~no-such-user/x", "the home folder ~no-such-user in ~no-such-user/x is not known. Give the full path"),
        ("~gone.jpg", "or ./~gone.jpg for a file or folder of that name."),
        ("a\0b", r"'a\x00b' cannot be a path"),
        ("~/\0", r"'~/\x00' cannot be a path"),
        ("a\ud800", r"'a\ud800' cannot be a path"),
    ],
)
def test_an_invalid_path_is_an_error_of_one_line(home, given, message):
    for path in (given, Path(given)):
        with pytest.raises(CatsDogsError) as caught:
            user_path(path)
        assert message in str(caught.value)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("given", [["a"], 3, None, b"a", {}])
def test_what_is_no_path_is_an_error_of_one_line(given):
    with pytest.raises(CatsDogsError) as caught:
        user_path(given)
    assert str(caught.value) == f"{given!r} cannot be a path. Give one path, as a string or a Path."
    with pytest.raises(CatsDogsError) as caught:
        user_path([given] * 1000)
    assert len(str(caught.value)) < 300


FEATURES = {"224": np.random.default_rng(0).random((2, 2048), np.float32)}
CALLS = {
    "run": lambda path: catsdogs.run(path),
    "run into": lambda path: catsdogs.run("data", artifacts=path),
    "extract": lambda path: catsdogs.extract(path, weights="random"),
    "extract into": lambda path: catsdogs.extract("data", artifacts=path),
    "train": lambda path: catsdogs.train(path),
    "submit": lambda path: catsdogs.submit(path),
    "report": lambda path: catsdogs.report(path),
    "subset": lambda path: catsdogs.subset(path),
    "score into": lambda path: catsdogs.score("rows", path),
    "merge": lambda path: catsdogs.merge("merged", [path]),
    "predict": lambda path: catsdogs.predict("1.jpg", artifacts=path),
    "evaluate": lambda path: catsdogs.evaluate("data", artifacts=path),
    "export": lambda path: catsdogs.export("keras", artifacts=path),
    "export into": lambda path: catsdogs.export("keras", out=path),
    "info": lambda path: catsdogs.info(path),
    "verify": lambda path: catsdogs.verify(path),
    "prepare": lambda path: catsdogs.prepare(path, "out"),
    "prepare into": lambda path: catsdogs.prepare("data", path),
    "demo": lambda path: catsdogs.demo(path, weights="random"),
    "benchmark": lambda path: catsdogs.benchmark(path, weights="random"),
    "benchmark of": lambda path: catsdogs.benchmark("data", artifacts=path),
    "notebook": lambda path: catsdogs.notebook(path),
    "lock": lambda path: catsdogs.lock(path).__enter__(),
    "load_features": lambda path: catsdogs.load_features(path),
    "import_features": lambda path: catsdogs.import_features(["a", "b"], None, views=FEATURES, artifacts=path),
}


@pytest.mark.parametrize("path", ["~no-such-user/x", "nul\0byte", "", ["x"]])
@pytest.mark.parametrize("call", CALLS)
def test_every_function_reports_an_invalid_path(home, call, path):
    with pytest.raises(CatsDogsError, match=r"is not known\. Give the full path|cannot be a path"):
        CALLS[call](path)
    assert list(Path.cwd().iterdir()) == []


@pytest.fixture
def data(home, draw, encode, write_folder):
    """Images of cats and dogs in ``~/data``."""
    images = {f"train/cat.{n}.png": encode(draw(n)) for n in range(11)}
    images |= {f"train/dog.{n}.png": encode(draw(50 + n)) for n in range(11)}
    return write_folder(home / "data", images | {"test/1.png": encode(draw(99))})


def test_every_path_of_a_run_may_start_with_a_tilde(home, data, tiny_backbone):
    (home / "tiny.keras").write_bytes(tiny_backbone.read_bytes())
    catsdogs.extract("~/data", artifacts="~/mine", weights="~/tiny.keras")
    (home / "left-out.csv").write_text("id\ncat.3\n")
    assert catsdogs.train("~/mine", exclude="~/left-out.csv").metrics.excluded == 1
    with pytest.raises(CatsDogsError, match="is not known"):
        catsdogs.train("~/mine", exclude="~no-such-user/x.csv")
    assert catsdogs.submit("~/mine").path == home / "mine/submission.csv"
    predictions = catsdogs.predict(["~/data/test", Path("~/data/test/1.png")], artifacts="~/mine")
    assert [of.image for of in predictions] == ["~/data/test/1.png"] * 2
    assert [of.reason for of in predictions] == [None] * 2
    assert catsdogs.evaluate(Path("~/data/train"), artifacts="~/mine").images == 22
    assert catsdogs.info("~/mine").stale == catsdogs.verify("~/mine").problems == ()
    assert catsdogs.prepare("~/data", "~/prepared").folder == home / "prepared"
    with pytest.raises(CatsDogsError, match="data/out is inside"):
        catsdogs.prepare("~/data", home / "data/out")
    with pytest.raises(CatsDogsError, match=rf"^{home}/x\.h5 does not end with \.keras"):
        catsdogs.export("keras", out="~/x.h5", artifacts="~/mine")
    assert catsdogs.notebook("~") == home / "walkthrough.ipynb"
    catsdogs.import_features(["a", "b"], None, views=FEATURES, artifacts="~/imported")
    assert len(catsdogs.load_features("~/imported", split="train").ids) == 2
    assert list(Path.cwd().iterdir()) == []


def test_commands_expand_tildes_that_shells_and_notebooks_do_not(home, data, tiny_backbone):
    done = command("extract", "~/data", "--artifacts=~/mine", "--weights", tiny_backbone)
    assert (done.returncode, done.stderr) == (0, "")
    assert (home / "mine/features").is_dir()
    assert command("info", "--artifacts=~/mine").returncode == 0
    done = command("run", "~no-such-user/x")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: the home folder ~no-such-user in ~no-such-user/x is not known.")
    assert done.stderr.count("\n") == 1


def test_images_from_a_wildcard_of_the_shell_are_predicted(home, data, tiny_backbone):
    catsdogs.run("~/data", artifacts="~/mine", weights=str(tiny_backbone))
    shutil.copytree(data / "test", "~root")
    shutil.copy(data / "test/1.png", "~1.png")
    found = catsdogs.predict(["~1.png", "~root/1.png", "~root"], artifacts="~/mine")
    assert [of.image for of in found] == ["~1.png", "~root/1.png", "~root/1.png"]
    assert [of.reason for of in found] == [None] * 3
