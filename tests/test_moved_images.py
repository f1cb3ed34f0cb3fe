"""Rows belong to bytes: moved and renamed images are not computed again, and no rows are lost unasked."""

import csv
import shutil

import numpy as np
import pytest
from support.program import command

import catsdogs
from catsdogs import CatsDogsError, ComputeOptions, import_features, info, load_features


@pytest.fixture(scope="module")
def images(draw, encode):
    """Twelve images of each class and six test images, by path."""
    names = [f"train/{kind}.{n}.jpg" for kind in ("cat", "dog") for n in range(12)]
    names += [f"test/{n}.jpg" for n in range(1, 7)]
    return {name: encode(draw(seed), "JPEG") for seed, name in enumerate(names)}


@pytest.fixture(scope="module")
def made(tmp_path_factory, images, write_folder, tiny_backbone):
    """Artifacts of a run on these images."""
    folder = tmp_path_factory.mktemp("made")
    catsdogs.run(write_folder(folder / "data", images), artifacts=folder / "artifacts", weights=str(tiny_backbone))
    return folder / "artifacts"


@pytest.fixture
def artifacts(made, tmp_path):
    return shutil.copytree(made, tmp_path / "artifacts")


def tree(root):
    """Return the bytes and the modification time of each file."""
    files = [path for path in root.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def rows_of(artifacts):
    """Return {digest: the row's bytes} of all images in both splits."""
    splits = [load_features(artifacts, split=split) for split in ("train", "test")]
    return {key.tobytes(): row.tobytes() for of in splits for key, row in zip(of.digests, of.features, strict=True)}


def labels_of(artifacts, split="train"):
    found = load_features(artifacts, split=split)
    return dict(zip(found.ids.tolist(), found.labels.tolist(), strict=True))


def predictions(artifacts):
    with (artifacts / "predictions.csv").open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def move(images, *moves):
    """Return images of which some have another path now."""
    moved = dict(images)
    for path, other in moves:
        moved[other] = moved.pop(path)
    return moved


MOVES = {
    "to the other class": lambda images: move(images, ("train/cat.3.jpg", "train/dog.30.jpg")),
    "to the test split": lambda images: move(images, ("train/cat.3.jpg", "test/77.jpg")),
    "to the training split": lambda images: move(images, ("test/3.jpg", "train/dog.77.jpg")),
    "to another name": lambda images: move(images, ("train/cat.3.jpg", "train/cat.300.jpg")),
    "under a second name": lambda images: images | {"train/cat.300.jpg": images["train/cat.3.jpg"]},
    "all to other names": lambda images: {
        path.replace(".jpg", "7.jpg").replace("train/", "train/a/"): data for path, data in images.items()
    },
    "all in each other's place": lambda images: dict(zip(images, [*images.values()][::-1], strict=True)),
}


@pytest.mark.parametrize("how", MOVES)
def test_a_moved_image_is_not_computed_again_and_has_its_new_label(
    how, images, artifacts, made, write_folder, tmp_path
):
    moved = MOVES[how](images)
    done = catsdogs.run(write_folder(tmp_path / "data", moved), artifacts=artifacts)
    assert (done.extraction.computed, done.trained) == (0, True)
    names = [path.rpartition("/")[2].removesuffix(".jpg") for path in moved if path.startswith("train/")]
    expected = {name: int(name.startswith("dog")) for name in names}
    assert labels_of(artifacts) == expected
    assert {name: int(row["label"]) for name, row in predictions(artifacts).items()} == expected
    assert rows_of(artifacts) == rows_of(made)
    assert (info(artifacts).stale, catsdogs.verify(artifacts).problems) == ((), ())


def test_a_corrected_label_makes_the_head_stale_until_it_is_retrained(images, artifacts, made, write_folder, tmp_path):
    data = write_folder(tmp_path / "data", move(images, ("train/dog.5.jpg", "train/cat.50.jpg")))
    done = command("extract", data, "--artifacts", artifacts)
    assert (done.returncode, "none computed: all were cached" in done.stdout) == (0, True), done.stderr
    assert [one.what for one in info(artifacts).stale] == ["head.json", "submission.csv"]
    assert command("train", "--artifacts", artifacts).returncode == 0
    catsdogs.extract(data, artifacts=tmp_path / "fresh", weights=str(info(artifacts).source["weights"]))
    catsdogs.train(tmp_path / "fresh")
    for name in ("head.npz", "predictions.csv", "features/manifest.json"):
        assert (artifacts / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes() != (made / name).read_bytes()


def test_images_given_in_another_form_are_not_computed_again(images, artifacts, made, write_folder, zipped, tmp_path):
    train = {path.removeprefix("train/"): data for path, data in images.items() if path.startswith("train/")}
    (tmp_path / "both.zip").write_bytes(zipped({f"data/{path}": data for path, data in images.items()}))
    forms = [
        tmp_path / "both.zip",
        write_folder(tmp_path / "flat", train),
        write_folder(tmp_path / "by-class", {f"{path[:3]}s/{path[4:]}": data for path, data in train.items()}),
        write_folder(tmp_path / "both", images),
    ]
    for form in forms:
        assert catsdogs.extract(form, artifacts=artifacts).computed == 0
        assert tree(artifacts / "features") == tree(made / "features")  # not even written again


def of_split(images, split):
    return {path: data for path, data in images.items() if path.startswith(f"{split}/")}


LOSSES = {
    "a class": (
        lambda images: {path: data for path, data in images.items() if "dog" not in path},
        "12 of the 24 train images and all 12 train images of class dog",
    ),
    "half of the training images": (
        lambda images: {path: data for path, data in images.items() if "test" in path or int(path[10:-4]) >= 6},
        "12 of the 24 train images",
    ),
    "half of the test images": (
        lambda images: of_split(images, "train") | {f"test/{n}.jpg": images[f"test/{n}.jpg"] for n in (1, 2, 3)},
        "3 of the 6 test images",
    ),
}


@pytest.mark.parametrize("what", LOSSES)
def test_a_run_that_would_lose_rows_is_refused_before_it_starts(
    what, images, artifacts, write_folder, encode, draw, tmp_path
):
    left, lost = LOSSES[what]
    data = write_folder(tmp_path / "data", left(images))
    (data / "train/cat.99.jpg").write_bytes(encode(draw(99), "JPEG"))  # something to compute
    before = tree(artifacts)
    refused = command("extract", data, "--artifacts", artifacts)
    claim = f"error: {artifacts}/features would lose {lost}. "
    *warnings, refusal = refused.stderr.splitlines()
    assert refusal == claim + (
        "Check the given path and options, or rerun with --prune to replace the cache, "
        "or give another artifacts folder to keep both."
    )
    assert all(line.startswith("warning: no head can be trained on these images") for line in warnings)
    assert (refused.returncode, refused.stdout, tree(artifacts)) == (1, "", before)
    (data / "train/cat.99.jpg").unlink()
    assert catsdogs.extract(data, artifacts=artifacts, prune=True).computed == 0
    assert len(labels_of(artifacts)) + len(labels_of(artifacts, "test")) == len(left(images))


@pytest.mark.parametrize("splits", [["train"], ["train", "test"]])
def test_a_removed_folder_of_a_split_is_created_again(splits, images, artifacts, made, write_folder, tmp_path):
    for split in splits:
        shutil.rmtree(artifacts / "features" / split)
    done = catsdogs.extract(write_folder(tmp_path / "data", images), artifacts=artifacts)
    assert done.computed == len([path for path in images if path.startswith(tuple(splits))])
    kept = [{name: content for name, (content, _) in tree(root / "features").items()} for root in (artifacts, made)]
    assert kept[0] == kept[1]


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_wrong_path_computes_nothing_and_changes_nothing(split, artifacts, write_folder, encode, draw, tmp_path):
    """The file names are the same as in the artifacts, except for the numbers."""
    names = [f"{kind}.{n}.jpg" for kind in ("cat", "dog") for n in range(50, 60)]
    names = names if split == "train" else [f"{n}.jpg" for n in range(50, 70)]
    wrong = write_folder(tmp_path / "wrong", {name: encode(draw(500 + n), "JPEG") for n, name in enumerate(names)})
    before, told = tree(artifacts), []
    with pytest.raises(CatsDogsError, match=rf"would lose .* {split} images.*--prune"):
        catsdogs.extract(wrong, artifacts=artifacts, progress=lambda step, *_: told.append(step))
    assert tree(artifacts) == before
    assert set(told) <= {"loading the backbone"}


@pytest.fixture
def linked(images, write_folder, tmp_path):
    """Return the folder of a drive, and a folder of links to the images on it."""
    drive, data = write_folder(tmp_path / "drive", images), tmp_path / "data"
    for name in images:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).symlink_to(drive / name)
    return drive, data


def test_images_on_a_missing_drive_lose_no_row(linked, artifacts, tmp_path):
    drive, data = linked
    assert catsdogs.extract(data, artifacts=artifacts).computed == 0
    before = tree(artifacts / "features")
    drive.rename(tmp_path / "elsewhere")
    with pytest.raises(
        CatsDogsError, match=r"would lose 24 of the 24 train images .* files cannot be read\. .*--prune"
    ):
        catsdogs.extract(data, artifacts=artifacts)
    assert tree(artifacts / "features") == before
    (tmp_path / "elsewhere").rename(drive)
    assert catsdogs.extract(data, artifacts=artifacts).computed == 0


def test_images_that_could_never_be_read_do_not_count_as_lost(linked, tmp_path, tiny_backbone):
    drive, data = linked
    for path in [*drive.glob("train/*.1*.jpg"), *drive.glob("test/*.jpg")]:
        path.unlink()
    for _ in range(2):
        done = catsdogs.extract(data, artifacts=tmp_path / "artifacts", weights=str(tiny_backbone))
        assert {split: len(of_split) for split, of_split in done.unreadable.items()} == {"train": 6, "test": 6}


def test_a_few_missing_images_need_no_option(images, artifacts, write_folder, tmp_path):
    left = {path: data for path, data in images.items() if path not in ("train/cat.0.jpg", "test/1.jpg")}
    assert catsdogs.extract(write_folder(tmp_path / "data", left), artifacts=artifacts).computed == 0
    assert len(load_features(artifacts).ids) == 23
    assert len(load_features(artifacts, split="test").ids) == 5


def test_identical_images_with_two_labels_share_a_fold_and_are_listed(images, artifacts, write_folder, tmp_path):
    twins = {f"train/dog.{n}0.jpg": images[f"train/cat.{n}.jpg"] for n in range(3, 8)}
    data = write_folder(tmp_path / "data", images | twins)
    done = catsdogs.run(data, artifacts=artifacts)
    assert (done.extraction.computed, done.extraction.duplicates["across_classes"]) == (0, 5)
    found = predictions(artifacts)
    for n in range(3, 8):
        cat, dog = found[f"cat.{n}"], found[f"dog.{n}0"]
        assert (cat["label"], dog["label"]) == ("0", "1")
        assert cat["fold"] == dog["fold"]
    pairs = np.load(artifacts / "features/duplicates.npy")
    equal = {(pair["id"], pair["other_id"]) for pair in pairs if pair["similarity"] == 1}
    assert equal == {(f"cat.{n}", f"dog.{n}0") for n in range(3, 8)}
    assert info(artifacts).duplicates["across_classes"] == 5
    for of in ("extract", "info"):
        arguments = [data] if of == "extract" else []
        assert "; 5 across classes" in command(of, *arguments, "--artifacts", artifacts).stdout


def test_facts_do_not_depend_on_the_views_or_the_form_of_the_source(
    images, artifacts, write_folder, zipped, tmp_path, tiny_backbone
):
    before = load_features(artifacts)
    assert before.facts.dtype.names == ("width", "height", "bytes", "brightness", "contrast", "sharpness")
    assert set(before.facts["width"]) == {40}
    contents = {path[6:-4]: len(data) for path, data in images.items()}
    assert before.facts["bytes"].tolist() == [contents[name] for name in before.ids.tolist()]
    sharpness = np.load(artifacts / "features/train/facts.npy")["sharpness"]
    assert sharpness.tobytes() == before.facts["sharpness"].tobytes()
    assert (sharpness > 0).all()
    (tmp_path / "train.zip").write_bytes(zipped({path: data for path, data in images.items() if "train" in path}))
    others = ComputeOptions(views=["288", "160m"])
    catsdogs.extract(tmp_path / "train.zip", artifacts=tmp_path / "zip", weights=str(tiny_backbone), compute=others)
    assert load_features(tmp_path / "zip").facts.tobytes() == before.facts.tobytes()
    added = ComputeOptions(views=["224", "160"])
    catsdogs.extract(write_folder(tmp_path / "data", images), artifacts=artifacts, compute=added)
    assert load_features(artifacts).facts.tobytes() == before.facts.tobytes()


def test_facts_of_unreadable_or_imported_images_are_nan(write_folder, encode, draw, tmp_path, tiny_backbone):
    files = {"1.png": encode(draw(1, (64, 48))), "2.png": b"no image", "3.png": encode(draw(3, (64, 48)))[:80]}
    data = write_folder(tmp_path / "data", files)
    catsdogs.extract(data, artifacts=tmp_path / "a", weights=str(tiny_backbone))
    found = load_features(tmp_path / "a", split="test")
    assert found.readable.tolist() == [True, False, False]
    assert [float(of) for of in found.facts[0].tolist()[:3]] == [64, 48, len(files["1.png"])]
    import_features(["cat.1", "dog.1"], [0, 1], views={"224": np.ones((2, 2048), np.float32)}, artifacts=tmp_path / "b")
    for facts in (found.facts[1:], load_features(tmp_path / "b").facts):
        assert all(np.isnan(facts[name]).all() for name in facts.dtype.names)
