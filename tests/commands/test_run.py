import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support.backbone import write_backbone
from support.program import command

import catsdogs
from catsdogs import CatsDogsError
from catsdogs.cli.listings import info_lines
from catsdogs.cli.summaries import run_lines
from catsdogs.images import identity


@pytest.fixture(scope="module")
def made(tmp_path_factory, draw, encode, write_folder, tiny_backbone):
    """A folder with data/ and, run on that, artifacts/; and what `run` gave."""
    folder = tmp_path_factory.mktemp("made")
    images = {f"train/cat.{n}.jpg": encode(draw(n), "JPEG") for n in range(10)}
    images |= {f"train/dog.{n}.jpg": encode(draw(100 + n), "JPEG") for n in range(10)}
    images |= {f"test/{n}.jpg": encode(draw(200 + n), "JPEG") for n in range(1, 4)}
    data = write_folder(folder / "data", images)
    return folder, catsdogs.run(data, artifacts=folder / "artifacts", weights=str(tiny_backbone))


@pytest.fixture
def data(made, tmp_path):
    """A copy of that data to work on, beside which there are no artifacts yet."""
    return shutil.copytree(made[0] / "data", tmp_path / "data")


@pytest.fixture
def artifacts(made, tmp_path):
    """A copy of those artifacts to work on."""
    return shutil.copytree(made[0] / "artifacts", tmp_path / "artifacts")


@pytest.fixture
def run(tmp_path, tiny_backbone):
    def run_into_artifacts(data, **options):
        return catsdogs.run(data, artifacts=tmp_path / "artifacts", weights=str(tiny_backbone), **options)

    return run_into_artifacts


def test_a_second_run_does_nothing_again_and_leaves_every_artifact_as_it_is(made, data, artifacts, run):
    _, first = made
    assert (first.extraction.computed, first.trained, first.submission.images) == (23, True, 3)
    notes = {"timings.json", "source.json"}
    files = [path for path in artifacts.rglob("*.*") if path.is_file() and path.name not in notes]
    before = {path: path.read_bytes() for path in files}
    second = run(data)
    assert (second.extraction.computed, second.trained) == (0, False)
    assert second.metrics.to_dict() == first.metrics.to_dict() == json.loads((artifacts / "metrics.json").read_text())
    assert {path: path.read_bytes() for path in files} == before


def test_near_duplicates_can_be_left_out_and_looked_for_later(data, tmp_path, tiny_backbone, draw, encode):
    for name, image in (("copy", "cat.1"), ("near", "cat.1")):
        content = (data / f"train/{image}.jpg").read_bytes()
        again = content if name == "copy" else encode(Image.open(io.BytesIO(content)), "JPEG", quality=90)
        (data / f"train/dog.{50 if name == 'copy' else 51}.jpg").write_bytes(again)
    options = ["--artifacts", tmp_path / "artifacts", "--weights", tiny_backbone]
    done = command("run", data, *options, "--no-near-duplicates")
    assert "1 pair, 1 identical; 1 across classes, 0 across train and test\n" in done.stdout
    assert "near-duplicates were not searched for" in done.stdout
    assert "near-duplicates were not searched for" in command("info", "--artifacts", tmp_path / "artifacts").stdout
    again = command("train", "--artifacts", tmp_path / "artifacts", "--no-near-duplicates")
    assert again.returncode == 0
    assert "not searched" not in command("report", "--artifacts", tmp_path / "artifacts").stdout
    assert "Near-duplicates were not searched for" in (tmp_path / "artifacts/report.html").read_text()
    assert "trained earlier, still valid" in command("run", data, *options, "--no-near-duplicates").stdout
    again = command("run", data, *options)
    assert "2 pairs" in again.stdout
    assert "still valid" not in again.stdout
    assert "still valid" in command("run", data, *options).stdout
    without = command("run", data, *options, "--no-near-duplicates").stdout
    assert "1 pair, 1 identical" in without
    assert "still valid" not in without
    assert "still valid" in command("run", data, *options, "--no-near-duplicates").stdout
    assert "2 pairs" in command("info", "--artifacts", tmp_path / "artifacts").stdout


WAITER = """
import sys, catsdogs
with catsdogs.lock(sys.argv[1], progress=lambda step, done, total: print(step, flush=True)):
    print("held", flush=True)
"""


def test_a_run_keeps_its_folder_to_its_end_from_one_that_waits(data, run, tmp_path):
    others = []

    def start_another(step, done, total):
        if step == "computing features" and not others:
            arguments = [sys.executable, "-c", WAITER, tmp_path / "artifacts"]
            others.append(subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True))
            assert others[0].stdout.readline().startswith("waiting for process")
        assert not others or others[0].poll() is None

    done = run(data, progress=start_another)
    assert (done.trained, done.submission.images) == (True, 3)
    assert others[0].communicate(timeout=60)[0] == "held\n"


def test_a_new_training_image_trains_the_head_anew_a_new_test_image_does_not(data, artifacts, run, draw, encode):
    (data / "test/4.jpg").write_bytes(encode(draw(300), "JPEG"))
    done = run(data)
    assert (done.extraction.computed, done.trained, done.submission.images) == (1, False, 4)
    (data / "train/dog.10.jpg").write_bytes(encode(draw(301), "JPEG"))
    done = run(data)
    assert (done.extraction.computed, done.trained) == (1, True)


def test_without_test_images_it_ends_well_and_writes_no_submission(data, run, tmp_path):
    for path in (data / "test").iterdir():
        path.unlink()
    assert run(data).submission is None
    assert not (tmp_path / "artifacts/submission.csv").exists()


def test_the_layout_of_2017_is_scored_on_its_test_images(tmp_path, draw, encode, write_folder, run):
    images = {
        f"cats-dogs-{split}/{kind}/{n}.png": encode(draw(first + n))
        for split, count, base in (("training", 10, 0), ("testing", 3, 1000))
        for kind, first in (("cat", base), ("dog", base + 100))
        for n in range(count)
    }
    done = run(write_folder(tmp_path / "2017", images))
    assert done.submission is None
    assert (done.metrics.images, done.metrics.test.images) == (20, 6)


def test_a_wrong_clip_is_refused_before_the_features_are_computed(data, run, tmp_path):
    with pytest.raises(CatsDogsError, match=r"Got 0\.7"):
        run(data, clip=0.7)
    assert not (tmp_path / "artifacts").exists()


def test_of_unlabelled_images_alone_features_are_kept_and_it_says_so(data, run, tmp_path):
    done = run(data / "test")
    assert (done.metrics, done.trained, done.submission) == (None, False, None)
    assert any("no labelled training images" in text for _, text in run_lines(done, tmp_path))
    assert len(catsdogs.load_features(tmp_path / "artifacts", split="test").ids) == 3


def test_labels_say_what_the_head_says(data, artifacts):
    submission = catsdogs.submit(artifacts, clip=0)
    answers = catsdogs.predict([data / "test", data / "test/2.jpg"], artifacts=artifacts)
    assert [answer.image for answer in answers] == [
        str(data / "test" / name) for name in ("1.jpg", "2.jpg", "3.jpg", "2.jpg")
    ]
    submitted = np.loadtxt(submission.path, delimiter=",", skiprows=1)[:, 1]
    assert np.allclose([answer.probability for answer in answers], submitted[[0, 1, 2, 1]], atol=1e-6)
    assert all(answer.label == ("cat", "dog")[answer.probability > 0.5] for answer in answers)


def test_a_label_names_the_image_as_it_was_given(data, artifacts, monkeypatch):
    monkeypatch.chdir(data)
    for given in ("./test/1.jpg", "test//1.jpg"):
        assert [answer.image for answer in catsdogs.predict(given, artifacts=artifacts)] == [given]


def test_open_files_paths_that_come_one_by_one_and_zips_are_labelled_alike(data, artifacts, tmp_path, zipped):
    (tmp_path / "some.zip").write_bytes(zipped({"a/1.jpg": (data / "test/1.jpg").read_bytes()}))
    with (data / "test/1.jpg").open("rb") as file:
        (opened,) = catsdogs.predict(file, artifacts=artifacts)
    (path,) = catsdogs.predict((data / "test").glob("1.jpg"), artifacts=artifacts, previews=1)
    (member,) = catsdogs.predict(tmp_path / "some.zip", artifacts=artifacts)
    assert (opened.image, member.image) == ("-", f"{tmp_path}/some.zip/a/1.jpg")
    assert opened.probability == path.probability == member.probability
    assert (opened.preview, path.preview.shape) == (None, (30, 40, 3))
    (tmp_path / "none.zip").write_bytes(zipped({"a/1.txt": b"text"}))
    with pytest.raises(CatsDogsError, match=r"no images in .*none\.zip"):
        catsdogs.predict(tmp_path / "none.zip", artifacts=artifacts)


def test_heads_of_imported_features_label_nothing_and_say_so_at_once(data, tmp_path):
    features = np.random.default_rng(0).normal(size=(20, 2048)).astype(np.float32)
    catsdogs.import_features(
        [str(n) for n in range(20)], np.arange(20) % 2, views={"224": features}, artifacts=tmp_path / "i"
    )
    catsdogs.train(tmp_path / "i")
    with pytest.raises(CatsDogsError, match="trained on imported features"):
        catsdogs.predict([data / "test"], artifacts=tmp_path / "i")


def test_other_rules_of_resizing_go_on_with_nothing_and_say_so(data, run, tmp_path, monkeypatch):
    artifacts = tmp_path / "artifacts"
    run(data, compute=catsdogs.ComputeOptions(views=["224", "224m"], precision="float32"))
    here = identity.pixels()
    monkeypatch.setattr(identity, "pixels", lambda: here.replace("bicubic", "lanczos"))
    with pytest.raises(CatsDogsError, match=r"bicubic .*; .* lanczos .*would replace them.*--prune"):
        run(data)
    for command_of_head in (catsdogs.predict, catsdogs.evaluate):
        with pytest.raises(
            CatsDogsError, match=r"trained on images resized .* bicubic .* lanczos .*catsdogs run DATA --prune"
        ):
            command_of_head(data, artifacts=artifacts)
    stale = catsdogs.info(artifacts).stale
    assert [one.what for one in stale] == ["features", "head.json", "submission.csv"]
    assert [one.command[1] for one in stale] == ["extract", "train", "submit"]
    assert stale[0].command[2:4] == [str(data), "--prune"]

    assert run(data, prune=True).extraction.computed == 23
    manifest = catsdogs.info(artifacts).features  # what was asked for the first time still holds
    assert (manifest.views, manifest.provenance.engine) == (("224", "224m"), "numpy")
    assert manifest.provenance.precision == "float32"
    assert catsdogs.info(artifacts).stale == ()
    assert len(catsdogs.predict([data / "test"], artifacts=artifacts)) == 3


def test_other_decoders_go_on_with_the_head_and_say_so_in_a_line(data, artifacts, monkeypatch, caplog):
    predicted, scored = catsdogs.predict(data, artifacts=artifacts), catsdogs.evaluate(data, artifacts=artifacts)
    rules, of_head = identity.pixels().rsplit(", ", 1)
    monkeypatch.setattr(identity, "pixels", lambda: f"{rules}, decoded as 01234567")
    assert caplog.messages == []
    assert catsdogs.predict(data, artifacts=artifacts) == predicted
    assert catsdogs.evaluate(data, artifacts=artifacts) == scored
    said = f"the head in {artifacts} was trained on images {of_head}, but here images are decoded as 01234567: "
    assert caplog.messages == [f"{said}codecs differ, so results may differ slightly"] * 2


def test_features_of_other_decoders_are_not_gone_on_with(data, run, artifacts, monkeypatch):
    rules, of_cache = identity.pixels().rsplit(", ", 1)
    monkeypatch.setattr(identity, "pixels", lambda: f"{rules}, decoded as 01234567")
    with pytest.raises(CatsDogsError, match=f"{of_cache}.*; .*decoded as 01234567.*would replace them.*--prune"):
        run(data)
    assert catsdogs.info(artifacts).stale[0].why == f"computed from images {of_cache}"
    assert run(data, prune=True).extraction.computed == 23
    assert catsdogs.info(artifacts).stale == ()


def test_labels_of_what_is_no_image_are_a_reason(data, artifacts, tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    answers = catsdogs.predict(
        [tmp_path / "text.jpg", tmp_path / "nowhere.jpg", data / "test/1.jpg"], artifacts=artifacts
    )
    assert [answer.label is None for answer in answers] == [True, True, False]
    assert "not a JPEG" in answers[0].reason
    assert "No such file" in answers[1].reason


def test_labels_by_other_weights_than_the_head_was_trained_with_are_refused(data, artifacts, tmp_path):
    other = write_backbone(tmp_path / "other.keras", seed=1)
    with pytest.raises(
        CatsDogsError, match=r"head was trained on features of tiny.keras.*of other.keras.* differ in the backbone"
    ):
        catsdogs.predict([data / "test"], artifacts=artifacts, weights=str(other))


def test_info_says_what_made_the_artifacts_and_whether_the_head_is_stale(data, artifacts, draw, encode):
    found = catsdogs.info(artifacts)
    assert found.features.provenance.weights_name == "tiny.keras"
    assert found.features.splits["train"].images == 20
    assert found.head["stale"] is None
    assert found.files["submission.csv"] == (artifacts / "submission.csv").stat().st_size
    (data / "train/dog.10.jpg").write_bytes(encode(draw(301), "JPEG"))
    catsdogs.extract(data, artifacts=artifacts)
    assert catsdogs.info(artifacts).head["stale"] == "the training features changed after the head was trained"
    assert catsdogs.submit(artifacts).stale


def test_info_counts_the_rows_of_a_stopped_run_and_names_a_changed_file(data, artifacts, run, draw, encode):
    class StoppedError(Exception):
        pass

    def stop(step, done, total):
        if step == "computing features" and done == total:
            raise StoppedError

    for number in (*range(10), *range(300, 340)):
        (data / f"train/cat.{number + 10}.jpg").write_bytes(encode(draw(number), "JPEG"))
    with pytest.raises(StoppedError):
        run(data, progress=stop)
    found = catsdogs.info(artifacts)
    assert found.shards == 40  # ten have the bytes of other images
    assert found.head["stale"] is None  # it is of the cache as it was
    assert ("shards", "40 rows of an unfinished run") in info_lines(found)
    assert run(data).extraction.computed == 0
    assert catsdogs.info(artifacts).head["stale"] is None
    (artifacts / "metrics.json").write_text("{}")
    assert any("stale: metrics.json" in text for _, text in info_lines(catsdogs.info(artifacts)))
    assert run(data).trained


def test_a_broken_zip_is_a_reason_and_the_images_beside_it_are_labelled(data, artifacts, tmp_path, zipped):
    (data / "test/train.zip").write_bytes(b"no zip")
    (tmp_path / "cut.zip").write_bytes(zipped({"1.jpg": b"an image"})[:-9])
    answers = catsdogs.predict([tmp_path / "cut.zip", data / "test"], artifacts=artifacts)
    assert [answer.label is None for answer in answers] == [False, False, False, True, True]
    assert [answer.image for answer in answers[3:]] == [str(tmp_path / "cut.zip"), str(data / "test/train.zip")]
    assert "is truncated or damaged" in answers[3].reason
    assert "is not a zip" in answers[4].reason
