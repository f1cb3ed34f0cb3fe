"""Probabilities of images in Parquet, without their features: by this process and by workers of Ray."""

import json
import signal
import time
from dataclasses import replace
from importlib.util import find_spec
from unittest import mock

import pytest
from support.at_rest import error_of
from support.backbone import write_backbone
from support.cluster import LOGGED_FILES, extract_on_ray, noted
from support.head import save_head
from support.program import command

import catsdogs
from catsdogs import CatsDogsError, OptionError, head
from catsdogs.artifacts import Artifacts
from catsdogs.images import identity

pytest.importorskip("pyarrow", reason="needs the extra parquet")

import pyarrow.parquet as pq

from catsdogs.cache import parquet

with_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray")
IMAGES, FILES = 260, 5
UNREADABLE = {
    "train": {"dog.7": "not a JPEG, PNG, WebP, BMP, GIF or TIFF image, or damaged"},
    "test": {"3": "the file is empty"},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory, draw, encode, write_folder):
    """Of the images, two are no images, and one a copy of another; 60 are of the test split, without labels."""
    files = {f"train/{('cat', 'dog')[n % 2]}.{n}.png": encode(draw(n, (64, 48))) for n in range(IMAGES - 60)}
    files |= {"train/dog.7.png": b"this is no image", "train/cat.100.png": files["train/cat.4.png"]}
    files |= {f"test/{n}.png": encode(draw(1000 + n, (64, 48))) for n in range(60)} | {"test/3.png": b""}
    return write_folder(tmp_path_factory.mktemp("data"), files)


@pytest.fixture(scope="module")
def how(tmp_path_factory, data, tiny_backbone, write_folder):
    """Artifacts with a head that was trained on some of the images, and the weights."""
    folder = tmp_path_factory.mktemp("trained")
    how = {"artifacts": folder / "a", "weights": str(tiny_backbone)}
    few = {path.name: path.read_bytes() for path in data.glob("train/*.[12]?.png")}
    catsdogs.extract(write_folder(folder / "few", few), **how, near_duplicates=False)
    catsdogs.train(how["artifacts"])
    return how


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data, how):
    """The folder that this process writes, and the result."""
    folder = tmp_path_factory.mktemp("whole") / "scores"
    return folder, catsdogs.predict_to_parquet(data, folder, **how)


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_files_are_those_of_extract_and_score_byte_for_byte(whole, data, how, tmp_path):
    before = files_of(how["artifacts"])
    folder, done = whole
    assert (done.images, done.scored, done.classes, done.out) == (IMAGES, IMAGES - 2, ("cat", "dog"), str(folder))
    assert done.unreadable == UNREADABLE
    catsdogs.extract(data, **how, parquet=tmp_path / "rows")
    scored = catsdogs.score(tmp_path / "rows", tmp_path / "scores", artifacts=how["artifacts"])
    assert len(files_of(folder)) == FILES
    assert files_of(folder) == files_of(tmp_path / "scores")
    assert (scored.unreadable, scored.scored) == (done.unreadable, done.scored)
    assert files_of(how["artifacts"]) == before


def test_the_probabilities_and_reasons_are_those_of_predict(whole, data, how):
    rows = pq.read_table(whole[0]).to_pylist()
    found = {f"{data}/{row['split']}/{row['id']}.png": row for row in rows}
    predictions = catsdogs.predict(data, **how)
    assert found.keys() == {each.image for each in predictions}
    for each in predictions:
        row = found[each.image]
        assert (row["probability"], row["reason"]) == (pytest.approx(each.probability, abs=1e-9), each.reason)


@pytest.mark.parametrize(
    "folders",
    [("2024", "2025", "2026"), ("cat", "dog", "owl"), ("train/cat", "train/dog", "new/owl"), ("ants", "bees")],
)
def test_every_image_has_a_probability_whatever_its_folder(how, draw, encode, write_folder, tmp_path, folders):
    files = {f"{folder}/{n}.png": encode(draw(n, (64, 48))) for folder in folders for n in range(2)}
    data = write_folder(tmp_path / "data", files | {"notes.txt": b""})
    done = catsdogs.predict_to_parquet(data, tmp_path / "out", **how)
    assert (done.images, done.scored) == (len(files), len(files))
    assert done.scan.classes == ("cat", "dog")
    rows = pq.read_table(tmp_path / "out").to_pylist()
    ids = {"/".join(name.removesuffix(".png").split("/")[-2:]) for name in files}
    assert {(row["id"], row["split"]) for row in rows} == {(id_, "test") for id_ in ids}


def test_probabilities_are_no_features(whole, how):
    message = error_of(lambda: catsdogs.score(whole[0], whole[0].parent / "again", artifacts=how["artifacts"]))
    assert "has probabilities, and no features. Give the folder that catsdogs extract wrote with --parquet" in message


def test_a_run_that_fails_goes_on_and_computes_no_image_again(whole, data, how, tmp_path):
    write, times = parquet.write_atomic, []

    def fail_at_the_third(path, content, **given):
        times.append(path)
        if len(times) == 3:
            (path.parent / given["temporary_name"]).write_bytes(content[:100])
            raise OSError(28, "No space left on device")
        write(path, content, **given)

    def predict():
        return catsdogs.predict_to_parquet(data, tmp_path / "out", **how)

    with mock.patch.object(parquet, "write_atomic", fail_at_the_third):
        assert "cannot be written (No space left on device)" in error_of(predict)
    assert predict().scored == IMAGES - 2 - (64 + 63)
    again = predict()
    assert (again.scored, again.unreadable) == (0, UNREADABLE)
    assert files_of(tmp_path / "out") == files_of(whole[0])


def test_scores_of_another_head_or_of_other_images_are_refused_and_stay(whole, data, how, tmp_path):
    before = files_of(whole[0])
    save_head(Artifacts(tmp_path / "b"), replace(head.load(Artifacts(how["artifacts"])).metadata, C=0.1))
    for given, artifacts in ((data, tmp_path / "b"), (data / "train", how["artifacts"])):
        message = error_of(
            lambda given=given, artifacts=artifacts: catsdogs.predict_to_parquet(
                given, whole[0], artifacts=artifacts, weights=how["weights"]
            )
        )
        assert "has rows of other images, another provenance or another program. Give a folder" in message
    assert files_of(whole[0]) == before


def test_other_weights_and_rules_of_resizing_are_refused_as_by_predict(data, how, tmp_path, monkeypatch):
    other = write_backbone(tmp_path / "other.keras", seed=7)

    def refused(**given):
        wanted = error_of(lambda: catsdogs.predict(data, **how | given))
        assert error_of(lambda: catsdogs.predict_to_parquet(data, tmp_path / "out", **how | given)) == wanted
        return wanted

    assert "differ in the backbone. Use the --weights that the head was trained with" in refused(weights=other)
    here = identity.pixels()
    monkeypatch.setattr(identity, "pixels", lambda: here.replace("bicubic", "lanczos"))
    assert "lanczos" in refused()
    assert not (tmp_path / "out").exists()


def test_other_decoders_are_told_in_a_line(data, how, tmp_path, monkeypatch, caplog):
    rules = identity.pixels().rsplit(", ", 1)[0]
    monkeypatch.setattr(identity, "pixels", lambda: f"{rules}, decoded as 01234567")
    assert catsdogs.predict_to_parquet(data / "test", tmp_path / "out", **how).scored == 59
    (message,) = caplog.messages
    assert message.endswith("codecs differ, so results may differ slightly")


def test_a_head_without_its_cache_is_enough(whole, data, how, tmp_path, write_folder):
    files = {name: (how["artifacts"] / name).read_bytes() for name in ("head.json", "head.npz")}
    options = how | {"artifacts": write_folder(tmp_path / "a", files)}
    assert catsdogs.predict_to_parquet(data, tmp_path / "out", **options).scored == IMAGES - 2
    assert files_of(tmp_path / "out") == files_of(whole[0])
    assert files_of(tmp_path / "a").keys() == files.keys()


def test_scores_go_to_a_uri_too(whole, data, how):
    import fsspec

    uri, memory = "memory://catsdogs/scores", fsspec.filesystem("memory")
    catsdogs.predict_to_parquet(data, uri, **how)
    found = {path.rpartition("/")[2]: memory.cat_file(path) for path in memory.ls("/catsdogs/scores", detail=False)}
    assert found == files_of(whole[0])
    assert catsdogs.predict_to_parquet(data, uri, **how).scored == 0


def test_the_command_names_unreadable_images_and_damaged_files(whole, data, how, tmp_path, write_folder):
    out = write_folder(tmp_path, files_of(whole[0]))
    first = min(out.iterdir())
    first.write_bytes(first.read_bytes()[:-100])
    options = ("--artifacts", how["artifacts"], "--weights", how["weights"], "--parquet", out)
    failed = command("predict", data, *options)
    assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
    assert failed.stderr.startswith(f"error: {first} is damaged: ")
    first.unlink()
    done = command("predict", data, *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert "260, of which 64 scored now, 2 unreadable\n" in done.stdout
    assert "dog.7: not a JPEG" in done.stdout
    assert f"wrote       {out}, the probabilities of dog\n" in done.stdout
    assert json.loads(command("predict", data, *options, "--json").stdout)["unreadable"] == UNREADABLE


@pytest.mark.parametrize(
    ("options", "finding"),
    [
        (("x", "--parquet", "y", "--csv"), "--parquet takes one folder or archive, and no --csv or --sort"),
        (("x", "z", "--parquet", "y"), "--parquet takes one folder or archive, and no --csv or --sort"),
        (("x", "--ray", "local"), "--ray and --workers have no effect without --parquet"),
        (("x", "--workers", "2"), "--ray and --workers have no effect without --parquet"),
        (("x", "--parquet", "y", "--workers", "2"), "the number of workers is given without ray"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, finding):
    done = command("predict", *options)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"error: {finding}. ")


def test_an_empty_path_is_refused(data, how):
    with pytest.raises(CatsDogsError, match="'' cannot be a path"):
        catsdogs.predict_to_parquet(data, "", **how)
    with pytest.raises(OptionError, match="the number of workers is 0"):
        catsdogs.predict_to_parquet(data, "out", **how, ray="local", workers=0)


def finish(run):
    out, err = run.communicate(timeout=300)
    return run.returncode, out, err


def on_ray(data, how, folder, *options, **given):
    options = ("--json", "--parquet", folder / "out", *options)
    return extract_on_ray(data, how["artifacts"], how["weights"], folder, *options, name="predict", **given)


@with_ray
@pytest.mark.slow
@pytest.mark.parametrize(("workers", "kills"), [(1, ""), (1, "1 2 5 8"), (2, "1 4 6 7")])
def test_workers_that_are_killed_write_each_file_once(workers, kills, whole, data, how, tmp_path):
    for again in (False, True):
        with on_ray(data, how, tmp_path, "--workers", workers, code=LOGGED_FILES, KILLS=kills) as run:
            code, out, err = finish(run)
        assert (code, err) == (0, "")
        assert len(noted(tmp_path, "kills")) == len(kills.split())
        assert [noted(tmp_path, name) for name in files_of(whole[0])] == [[1]] * FILES
        assert files_of(tmp_path / "out") == files_of(whole[0])
        done = json.loads(out)
        assert (done["scored"], done["unreadable"]) == (0 if again else IMAGES - 2, UNREADABLE)


@with_ray
@pytest.mark.slow
def test_a_driver_that_is_killed_is_started_again_and_writes_no_file_again(whole, data, how, tmp_path):
    slow = LOGGED_FILES + "import time; compute = support.backbone.NumpyBackbone.features\n"
    slow += "support.backbone.NumpyBackbone.features = lambda *given: (time.sleep(0.1), compute(*given))[1]"
    for kind in (signal.SIGKILL, signal.SIGINT):
        before = len(noted(tmp_path, "steps"))
        with on_ray(data, how, tmp_path, code=slow, KILLS="") as run:
            while run.poll() is None and len(noted(tmp_path, "steps")) < before + 2:
                time.sleep(0.01)
            run.send_signal(kind)
            assert finish(run)[0] == (130 if kind == signal.SIGINT else -kind)
    with on_ray(data, how, tmp_path, code=LOGGED_FILES, KILLS="") as run:
        code, out, err = finish(run)
    assert (code, err) == (0, "")
    assert files_of(tmp_path / "out") == files_of(whole[0])
    assert [noted(tmp_path, name) for name in files_of(whole[0])] == [[1]] * FILES
    assert 0 < json.loads(out)["scored"] <= IMAGES - 2 - 64 - 63


@with_ray
@pytest.mark.slow
def test_what_does_not_fit_the_head_is_refused_before_workers_compute(whole, data, how, tmp_path):
    other = write_backbone(tmp_path / "other.keras", seed=7)
    with on_ray(data, how | {"weights": other}, tmp_path) as run:
        code, out, err = finish(run)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "differ in the backbone. Use the --weights that the head was trained with" in err
    assert not (tmp_path / "out").exists()
    save_head(Artifacts(tmp_path / "b"), head.load(Artifacts(how["artifacts"])).metadata)
    (tmp_path / "out").mkdir()
    for name, content in files_of(whole[0]).items():
        (tmp_path / "out" / name).write_bytes(content)
    with on_ray(data, how | {"artifacts": tmp_path / "b"}, tmp_path) as run:
        code, out, err = finish(run)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "has rows of other images, another provenance or another program" in err
    assert files_of(tmp_path / "out") == files_of(whole[0])
