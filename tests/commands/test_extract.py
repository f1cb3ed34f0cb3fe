import json
import time
import zipfile
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from support.backbone import write_backbone

import catsdogs
from catsdogs import CatsDogsError, load_features
from catsdogs.cache import load_duplicates
from catsdogs.cli.summaries import extraction_lines
from catsdogs.inference import plan
from catsdogs.inference.plan import Plan


@pytest.fixture
def folder(tmp_path, pictures, write_folder):
    return write_folder(tmp_path / "data", pictures)


@pytest.fixture
def extract(tmp_path, tiny_backbone):
    def extract_into_artifacts(data, **options):
        return catsdogs.extract(data, artifacts=tmp_path / "artifacts", weights=str(tiny_backbone), **options)

    return extract_into_artifacts


def tree(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_every_form_of_the_same_images_gives_bit_identical_features(
    tmp_path, pictures, write_folder, zipped, tiny_backbone
):
    train = {name: data for name, data in pictures.items() if name.startswith("train/")}
    test = {name: data for name, data in pictures.items() if name.startswith("test/")}
    nested = tmp_path / "dogs-vs-cats-redux-kernels-edition.zip"
    nested.write_bytes(zipped({"train.zip": zipped(train), "test.zip": zipped(test, zipfile.ZIP_DEFLATED)}))
    by_class = {f"{name[6:9]}s/{name.split('.', 1)[1]}": data for name, data in train.items()}
    flat = {name.removeprefix("train/"): data for name, data in train.items()}
    forms = {
        "folder": write_folder(tmp_path / "folder", pictures),
        "nested": nested,
        "by class": write_folder(tmp_path / "classes", by_class),
        "flat": write_folder(tmp_path / "flat", flat),
    }
    splits = {}
    for form, path in forms.items():
        catsdogs.extract(path, artifacts=tmp_path / form, weights=str(tiny_backbone))
        splits[form] = tree(tmp_path / form / "features" / "train")
    assert splits["folder"] == splits["nested"] == splits["by class"] == splits["flat"]
    assert tree(tmp_path / "folder" / "features") == tree(tmp_path / "nested" / "features")
    features = load_features(tmp_path / "nested")
    assert features.ids.tolist() == ["cat.1", "cat.2", "cat.10", "dog.1", "dog.2", "dog.10"]
    assert features.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert len(np.unique(features.features, axis=0)) == 6


def test_a_second_run_computes_nothing_and_changes_no_byte(folder, extract, tmp_path):
    assert extract(folder).computed == 12
    before = {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "artifacts/features").rglob("*.*")
    }
    again = extract(folder)
    assert (again.computed, again.rate) == (0, None)
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before}


def test_what_a_manifest_that_was_removed_named_is_not_computed_again(folder, extract, tmp_path):
    """The hint of a damaged manifest is to remove it."""
    assert extract(folder).computed == 12
    (tmp_path / "artifacts/features/manifest.json").unlink()
    assert extract(folder).computed == 0


def test_ten_images_more_are_ten_computed_and_one_that_changed_is_one(folder, extract, draw, encode, tmp_path):
    extract(folder)
    for number in range(10):
        (folder / f"train/cat.{100 + number}.jpg").write_bytes(encode(draw(1000 + number), "JPEG"))
    assert extract(folder).computed == 10
    before = load_features(tmp_path / "artifacts")
    (folder / "train/cat.104.jpg").write_bytes(encode(draw(2000), "JPEG"))
    assert extract(folder).computed == 1
    after = load_features(tmp_path / "artifacts")
    changed = np.any(before.features != after.features, axis=1)
    assert after.ids[changed].tolist() == ["cat.104"]


def test_the_cache_of_several_runs_equals_that_of_one(folder, extract, tmp_path, tiny_backbone):
    held_back = [folder / "train/cat.2.jpg", folder / "test/9.jpg"]
    contents = [path.read_bytes() for path in held_back]
    for path in held_back:
        path.unlink()
    extract(folder)
    for path, content in zip(held_back, contents, strict=True):
        path.write_bytes(content)
    extract(folder)
    catsdogs.extract(folder, artifacts=tmp_path / "fresh", weights=str(tiny_backbone))
    assert tree(tmp_path / "artifacts/features") == tree(tmp_path / "fresh/features")


def test_more_images_than_may_wait_keep_their_order(tmp_path, draw, encode, write_folder, extract):
    images = {f"{number}.png": encode(draw(number, (8, 8))) for number in range(1, 151)}
    done = extract(write_folder(tmp_path / "many", images))
    assert (done.images, done.computed) == ({"test": 150}, 150)
    features = load_features(tmp_path / "artifacts", split="test")
    assert features.ids.tolist() == [str(number) for number in range(1, 151)]
    alone = tmp_path / "alone"
    write_folder(alone, {"77.png": images["77.png"]})
    catsdogs.extract(
        alone,
        artifacts=tmp_path / "one",
        weights=json.loads((tmp_path / "artifacts/source.json").read_text())["weights"],
    )
    assert np.array_equal(load_features(tmp_path / "one", split="test").features[0], features.features[76])


def test_an_unreadable_image_is_a_row_with_a_reason_until_it_changes(folder, extract, tmp_path, pictures):
    bad = folder / "train/dog.1.jpg"
    bad.write_bytes(b"this is no image")
    (folder / "test/9.jpg").write_bytes(b"")
    done = extract(folder)
    assert done.computed == 10
    assert done.unreadable["test"] == {"9": "the file is empty"}
    assert "JPEG" in done.unreadable["train"]["dog.1"]
    features = load_features(tmp_path / "artifacts")
    assert features.ids[~features.readable].tolist() == ["dog.1"]
    assert np.isnan(features.features[~features.readable]).all()
    assert np.isfinite(features.features[features.readable]).all()
    assert extract(folder).computed == 0
    bad.write_bytes(pictures["train/dog.1.jpg"])
    done = extract(folder)
    assert (done.computed, done.unreadable["train"]) == (1, {})


def test_rows_are_not_dropped_unless_pruning_was_asked_for(folder, extract, tmp_path):
    extract(folder)
    (folder / "train/dog.1.jpg").unlink()
    extract(folder)  # of one of six nobody need ask
    assert load_features(tmp_path / "artifacts").ids.tolist() == ["cat.1", "cat.2", "cat.10", "dog.2", "dog.10"]
    before = tree(tmp_path / "artifacts")
    for name in ("dog.2", "dog.10"):
        (folder / f"train/{name}.jpg").unlink()
    (folder / "test/1.jpg").unlink()
    with pytest.raises(CatsDogsError, match=r"would lose all 2 train images of class dog\. Check .*--prune"):
        extract(folder)
    for number in (2, 3):
        (folder / f"test/{number}.jpg").unlink()
    lost = r"lose all 2 train images of class dog and 3 of the 6 test images\."
    with pytest.raises(CatsDogsError, match=lost):
        extract(folder)
    assert tree(tmp_path / "artifacts") == before
    assert extract(folder, prune=True).computed == 0
    assert load_features(tmp_path / "artifacts").ids.tolist() == ["cat.1", "cat.2", "cat.10"]


def test_a_truncated_zip_is_one_line_and_changes_no_row(tmp_path, pictures, zipped, extract):
    content, path = (
        zipped({name: data for name, data in pictures.items() if name.startswith("train/")}),
        tmp_path / "a.zip",
    )
    path.write_bytes(content)
    extract(path)
    before = tree(tmp_path / "artifacts")
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CatsDogsError, match=r"a\.zip is truncated or damaged.*Download it again"):
        extract(path)
    assert tree(tmp_path / "artifacts") == before


def test_features_of_other_weights_are_not_mixed_in(folder, extract, tmp_path):
    extract(folder)
    other = str(write_backbone(tmp_path / "other.keras", seed=1))
    with pytest.raises(CatsDogsError, match=r"has 12 rows computed by tiny.keras.*--prune"):
        catsdogs.extract(folder, artifacts=tmp_path / "artifacts", weights=other)
    done = catsdogs.extract(folder, artifacts=tmp_path / "artifacts", weights=other, prune=True)
    assert done.computed == 12
    catsdogs.extract(folder, artifacts=tmp_path / "fresh", weights=other)
    assert tree(tmp_path / "artifacts/features") == tree(tmp_path / "fresh/features")


def test_each_zip_alone_fills_its_own_split(tmp_path, pictures, zipped, extract):
    for split in ("train", "test"):
        members = {name: data for name, data in pictures.items() if name.startswith(split + "/")}
        (tmp_path / f"{split}.zip").write_bytes(zipped(members))
        assert extract(tmp_path / f"{split}.zip").images == {split: 6}
    assert len(load_features(tmp_path / "artifacts").ids) == 6
    noted = json.loads((tmp_path / "artifacts/source.json").read_text())
    assert {split: Path(noted[split]).name for split in ("train", "test")} == {"train": "train.zip", "test": "test.zip"}


def test_the_weights_of_the_last_run_are_used_where_nobody_says_otherwise(folder, extract, tmp_path):
    extract(folder)
    again = catsdogs.extract(folder, artifacts=tmp_path / "artifacts")
    assert (again.computed, again.backbone) == (0, "tiny.keras")


def test_a_first_run_that_was_interrupted_is_gone_on_with_by_its_weights(folder, extract, tmp_path):
    def interrupt(step, done, total):
        if step == "computing features" and done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(folder, progress=interrupt)
    done = catsdogs.extract(folder, artifacts=tmp_path / "artifacts")
    assert (done.backbone, done.computed) == ("tiny.keras", 2)


def test_weights_that_are_to_replace_the_cache_are_noted_when_they_have(folder, extract, tmp_path):
    def interrupt(step, done, total):
        if step == "computing features" and done == 10:
            raise KeyboardInterrupt

    extract(folder)
    other = str(write_backbone(tmp_path / "other.keras", seed=1))
    replacing = {"artifacts": tmp_path / "artifacts", "weights": other, "prune": True}
    with pytest.raises(KeyboardInterrupt):
        catsdogs.extract(folder, **replacing, progress=interrupt)
    assert catsdogs.extract(folder, artifacts=tmp_path / "artifacts").backbone == "tiny.keras"
    assert catsdogs.extract(folder, **replacing).computed == 2
    assert catsdogs.extract(folder, artifacts=tmp_path / "artifacts").backbone == "other.keras"


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("nowhere.keras", "there is no weights file"),
        ("resnet", "does not name any weights"),
        ("random:x", "is not a whole number"),
        ("pyproject.toml", "does not name any weights"),
    ],
)
def test_wrong_weights_are_refused_before_anything_is_written(folder, tmp_path, weights, message):
    with pytest.raises(CatsDogsError, match=message):
        catsdogs.extract(folder, artifacts=tmp_path / "artifacts", weights=weights)
    assert not (tmp_path / "artifacts").exists()


def test_progress_is_told_up_to_the_last_image(folder, extract):
    told = []
    extract(folder, progress=lambda step, done, total: told.append((step, done, total)))
    assert [one for one in told if one[0] == "computing features"][-1] == ("computing features", 12, 12)
    assert told[-1] == ("searching for duplicates", 12, 12)


def test_timings_say_how_fast_and_by_what(tmp_path, draw, encode, write_folder, extract):
    images = {f"{number}.png": encode(draw(number, (8, 8))) for number in range(1, 131)}
    done = extract(write_folder(tmp_path / "many", images))
    noted = json.loads((tmp_path / "artifacts/timings.json").read_text())["extract"]
    assert (noted["images"], noted["engine"], noted["precision"]) == (130, done.engine, done.precision)
    assert noted["stages"].keys() == {"read", "decode", "compute", "write"}
    assert noted["rate"] == done.rate > 0


def test_with_fail_fast_the_first_unreadable_image_ends_it_and_rows_stay(folder, extract, tmp_path):
    (folder / "train/dog.1.jpg").write_bytes(b"this is no image")
    claim = r"train/dog\.1\.jpg is unreadable: not a JPEG.*--fail-fast"
    with pytest.raises(CatsDogsError, match=claim):
        extract(folder, fail_fast=True)
    assert not (tmp_path / "artifacts/features").exists()
    assert extract(folder).computed == 11
    assert not (tmp_path / "artifacts/features/shards").exists()
    with pytest.raises(CatsDogsError, match=claim):  # also where it is known already
        extract(folder, fail_fast=True)
    (folder / "train/dog.1.jpg").write_bytes((folder / "train/dog.2.jpg").read_bytes() + b"another")
    assert extract(folder, fail_fast=True).computed == 1  # mended


def test_weights_that_change_while_they_load_are_refused(folder, tmp_path, monkeypatch):
    weights, load = write_backbone(tmp_path / "w.keras", seed=1), plan.Backbone

    def load_slowly(*arguments, **named):
        loaded = load(*arguments, **named)
        write_backbone(weights, seed=2)
        return loaded

    monkeypatch.setattr(plan, "Backbone", load_slowly)
    with pytest.raises(CatsDogsError, match=r"w\.keras changed while it was loaded\. Run the same"):
        catsdogs.extract(folder, artifacts=tmp_path / "artifacts", weights=str(weights))
    assert not (tmp_path / "artifacts").exists()


def test_an_error_does_not_wait_for_a_download(tmp_path, write_folder, monkeypatch):
    cancelled = []

    def load(self, files=(), *, progress):
        try:
            for block in range(6000):
                progress("downloading", block, 6000)
                time.sleep(0.01)
        except CancelledError:
            cancelled.append(block)
            raise

    monkeypatch.setattr(Plan, "load", load)
    with pytest.raises(CatsDogsError, match="no images"):
        catsdogs.extract(write_folder(tmp_path / "data", {"notes.txt": b""}), artifacts=tmp_path / "artifacts")
    assert cancelled


def test_damage_in_the_other_split_only_leaves_the_duplicates_for_later(folder, extract, tmp_path, draw, encode):
    extract(folder)
    damaged = tmp_path / "artifacts/features/test/224.npy"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    (folder / "train/cat.99.jpg").write_bytes(encode(draw(99), "JPEG"))
    (folder / "test").rename(tmp_path / "test")
    done = extract(folder)
    assert (done.images, done.computed, done.duplicates) == ({"train": 7}, 1, {})
    assert any("not searched for:" in text for _, text in extraction_lines(done, tmp_path / "artifacts"))
    assert len(load_features(tmp_path / "artifacts").ids) == 7
    with pytest.raises(CatsDogsError, match=r"rows in .*test are damaged"):
        load_features(tmp_path / "artifacts", split="test")
    (tmp_path / "test").rename(folder / "test")
    mended = extract(folder)
    assert (mended.computed, mended.duplicates["pairs"]) == (1, 0)
    assert damaged.read_bytes() == whole


def test_the_features_stay_locked_while_duplicates_are_looked_for(folder, extract, tmp_path, monkeypatch):
    held = []

    def find(cache, **options):
        held.append(FileLock(tmp_path / "artifacts/.features.lock", thread_local=False, is_singleton=True).is_locked)
        return load_duplicates(cache, **options)

    monkeypatch.setattr("catsdogs.commands.extract.load_duplicates", find)
    extract(folder)
    assert held == [True]
