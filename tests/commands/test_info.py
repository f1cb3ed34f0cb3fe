import json
import shutil
import subprocess
import threading

import numpy as np
import pytest
from typer.testing import CliRunner

import catsdogs
from catsdogs.backbone import model_cache
from catsdogs.cli.app import app
from catsdogs.cli.listings import info_lines


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_backbone, draw, encode, write_folder):
    """A folder with data/ and, made of that, artifacts/."""
    folder = tmp_path_factory.mktemp("made")
    images = {f"train/{kind}.{n}.jpg": 2 * n + (kind == "dog") for kind in ("cat", "dog") for n in range(12)}
    images |= {f"test/{n}.jpg": 100 + n for n in range(3)}
    write_folder(folder / "data", {name: encode(draw(seed), "JPEG") for name, seed in images.items()})
    catsdogs.run(folder / "data", artifacts=folder / "artifacts", weights=str(tiny_backbone), clip=0.01)
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy of that to work on, and in; its artifacts still have the data beside the original as their source."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    source = json.loads((tmp_path / "artifacts/source.json").read_text())
    source |= dict.fromkeys(("train", "test"), str(tmp_path / "data"))
    (tmp_path / "artifacts/source.json").write_text(json.dumps(source))
    return tmp_path


def stale():
    return [(one.what, one.why) for one in catsdogs.info().stale]


def refresh():
    """Run what `info` says, in the order in which it says so."""
    for one in catsdogs.info().stale:
        done = CliRunner().invoke(app, one.command[1:])
        assert done.exit_code == 0, (one, done.output, done.exception)


def test_shards_that_come_and_go_meanwhile_end_nothing(here):
    """As another process writes and removes them."""
    shards, ended = here / "artifacts/features/shards", threading.Event()

    def write_and_remove():
        while not ended.is_set():
            for number in range(30):
                (shards / str(number)).mkdir(parents=True)
                (shards / str(number) / f"{number:032}.224.npy").write_bytes(bytes(9000))
            shutil.rmtree(shards)

    other = threading.Thread(target=write_and_remove)
    other.start()
    try:
        for _ in range(30):
            assert catsdogs.info().features
    finally:
        ended.set()
        other.join()


def test_of_what_was_just_made_nothing_is_stale(here):
    assert stale() == []
    assert list(info_lines(catsdogs.info()))[-1] == ("stale", "nothing")


def test_a_stopped_run_is_named_with_what_hangs_on_it_and_can_be_finished(here, draw):
    class StoppedError(Exception):
        pass

    def stop(step, done, total):
        if step == "computing features" and done == 24:
            raise StoppedError

    for number in range(12, 36):
        draw(number).save(here / f"data/train/cat.{number}.jpg")
    with pytest.raises(StoppedError):
        catsdogs.extract(here / "data", progress=stop)
    assert stale() == []
    views = catsdogs.ComputeOptions(views=["224", "224m"])
    catsdogs.extract(here / "data/train", compute=views)
    assert [what for what, _ in stale()] == ["features/test", "head.json", "submission.csv"]
    said = [text for name, text in info_lines(catsdogs.info())][-3:]
    assert said == [f"catsdogs extract {here}/data", "catsdogs train", "catsdogs submit --clip 0.01"]
    refresh()
    assert stale() == []
    assert len(catsdogs.load_features().ids) == 48


@pytest.mark.parametrize(
    ("damage", "what", "why"),
    [
        (lambda folder: (folder / "submission.csv").unlink(), "submission.csv", "there is none yet"),
        (
            lambda folder: (folder / "submission.csv").write_text("id,label\n"),
            "submission.csv",
            "it was changed after it was written",
        ),
        (lambda folder: (folder / "head.json").unlink(), "head.json", "missing"),
        (lambda folder: (folder / "metrics.json").write_text("{}"), "head.json", "metrics.json is missing, or was"),
        (lambda folder: catsdogs.extract("data/train"), None, ""),
    ],
)
def test_what_is_missing_or_changed_is_named_and_its_command_mends_it(here, damage, what, why):
    folder = here / "artifacts"
    before = (folder / "submission.csv").read_bytes()
    damage(folder)
    found = stale()
    assert [name for name, _ in found][:1] == ([what] if what else [])
    assert not what or why in found[0][1]
    refresh()
    assert stale() == []
    assert (folder / "submission.csv").read_bytes() == before


def test_what_else_is_damaged_is_told_and_the_rest_is_shown(here):
    catsdogs.correct({"cat.0": "dog"})
    catsdogs.train()
    files = [path for path in sorted((here / "artifacts").rglob("*.*")) if path.is_file() and path.name[0] != "."]
    for path in files:
        content = path.read_bytes()
        path.write_bytes(b"garbage")
        if path.name != "manifest.json":
            found = catsdogs.info()
            assert all(path.name in problem for problem in found.problems), path
            assert found.problems or path.name not in TOLD, path
            assert (found.features.splits["train"].images, len(found.files)) == (24, len(files))
        path.write_bytes(content)
    assert catsdogs.info().problems == ()
    (here / "artifacts/corrections.csv").write_text("garbage")
    done = CliRunner().invoke(app, ["info"])
    assert done.exit_code == 1
    assert "problem     artifacts/corrections.csv cannot be read: it has no column" in done.stdout
    assert "head        stale: corrections.csv is damaged" in done.stdout


TOLD = ("corrections.csv", "source.json", "timings.json")
"""What no command makes again in any case; of the others, only those that are needed to tell the rest are read."""


@pytest.mark.parametrize("text", [b"{'descr': (", b"{'descr': '<U0'}", b"(" * 90, bytes(90), b"{'descr': [('a',"])
def test_a_damaged_header_ends_nothing_and_describes_nothing(here, text):
    path = here / "artifacts/features/test/status.npy"
    path.write_bytes(path.read_bytes()[:10] + text.ljust(118) + bytes(3))
    assert "features/test/status.npy" not in catsdogs.info().arrays


def test_a_submission_of_an_older_head_is_stale_until_it_is_written_anew(here):
    (here / "without.csv").write_text("id\ncat.0\n")
    catsdogs.train(exclude="without.csv")
    assert stale() == [("submission.csv", "it was computed from another head or other features")]
    refresh()
    assert stale() == []


def test_pages_of_an_older_head_are_stale_until_they_are_written_anew(here):
    catsdogs.report()
    catsdogs.review()
    assert stale() == []
    (here / "left out.csv").write_text("id\ncat.1\n")
    catsdogs.train(exclude=here / "left out.csv")
    assert stale()[1:] == [(f"{page}.html", "it shows another head") for page in ("report", "review")]
    refresh()
    assert stale() == []


def test_a_submission_of_which_nobody_knows_what_it_is_of_is_stale(here):
    timings = json.loads((here / "artifacts/timings.json").read_text())
    del timings["submit"]["inputs_digest"], timings["submit"]["clip"]
    (here / "artifacts/timings.json").write_text(json.dumps(timings))
    assert stale() == [("submission.csv", "it was computed from another head or other features")]
    refresh()
    assert stale() == []


def test_shapes_and_dtypes_are_those_that_numpy_finds_and_all_fits_80_columns(here):
    found = catsdogs.info()
    for name in found.files:
        if name.endswith(".npy"):
            array = np.load(here / "artifacts" / name)
            assert found.arrays[name]["shape"] == list(array.shape), name
            assert array.dtype.names or found.arrays[name]["dtype"] == str(array.dtype), name
    lines = [f"{name:<12}{text}" for name, text in info_lines(found)]
    assert [line for line in lines if len(line) > 80 and "weights: " not in line and str(here) not in line] == []
    assert any("(24, 2048) float32" in line for line in lines)


def test_kept_networks_are_counted_and_the_command_that_removes_them_is_shown(here, empty_model_cache):
    assert catsdogs.info().model_cache == model_cache.ModelCache(empty_model_cache, 0, 0)
    assert "networks" not in dict(info_lines(catsdogs.info()))
    facts = model_cache.Facts(backbone="ab", precision="float32")
    model_cache.write({"weights": "random:0"}, facts, {"224": bytes(2_500_000)})
    assert catsdogs.info().to_dict()["model_cache"]["entries"] == 1
    lines = [*info_lines(catsdogs.info())]
    at = lines.index(("networks", "1 kept for all artifacts, 2.5 MB. To remove them:"))
    subprocess.run(lines[at + 1][1], shell=True, check=True)
    assert catsdogs.info().model_cache.entries == 0
