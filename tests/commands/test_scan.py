import json
import subprocess
import sys

import pytest
from support.program import command

import catsdogs
from catsdogs import CatsDogsError


def images(folder, kinds, count=12, suffix=".jpg"):
    return {f"{folder}{kind}/{n}{suffix}": f"{kind}{n}{suffix}".encode() for kind in kinds for n in range(1, count + 1)}


@pytest.fixture
def scan(tmp_path, write_folder):
    def of(files, **options):
        return catsdogs.scan(write_folder(tmp_path / "data", files), artifacts=tmp_path / "artifacts", **options)

    return of


def reasons(found):
    return {each.reason: each.files for each in found.skipped}


def test_fast_ais_cats_and_dogs_are_read_and_what_is_skipped_is_said(scan):
    numbered = {
        f"dogscats/train/{kind}s/{kind}.{n}.jpg": f"{kind}{n}".encode() for kind in ("cat", "dog") for n in range(1, 13)
    }
    sample = {name.replace("train", "sample/train"): b"small" for name in list(numbered)[:4]}
    valid = {name.replace("train", "valid"): of + b"v" for name, of in numbered.items()}
    found = scan(numbered | sample | valid | images("dogscats/", ["test1"]))
    assert found.images == {"train": {"cat": 12, "dog": 12}, "test": {"unlabelled": 12}}
    assert found.examples["test"]["unlabelled"] == ("1", "2", "3")
    assert reasons(found) == {
        "validation images, as there is a test folder: score them with catsdogs evaluate": 24,
        "in a data set within the data set": 4,
    }
    assert found.rules[0] == "train/ is the training split, test1/ is the test split"
    assert found.training_problem is None


def test_folders_named_like_splits_are_no_classes(scan):
    found = scan(images("train_images/", ("cats", "dogs")) | images("", ["test_images"]))
    assert (found.classes, found.images["test"]) == (("cat", "dog"), {"unlabelled": 12})


def test_every_usual_ending_of_a_jpeg_is_read_and_others_are_named(scan):
    files = {name: of for suffix in (".jfif", ".jpe", ".mpo", ".pjpeg") for name, of in
             images("", ("cat", "dog"), 2, suffix).items()}  # fmt: skip
    found = scan(files | images("", ("cat", "dog"), 9, ".heic") | images("", ["cat"], 2, ".JPG~"))
    assert found.images == {"train": {"cat": 8, "dog": 8}}
    assert "training images of the class cat in" in found.training_problem
    assert ": 8; skipped: 18 named *.heic, 2 named *.jpg~. Give at least 10 of each class." in found.training_problem


def test_the_class_that_is_missing_is_named_before_any_image_is_computed(tmp_path, write_folder, tiny_backbone):
    data = write_folder(tmp_path / "data", images("", ["cat"]))
    with pytest.raises(CatsDogsError, match=r"training images of the class dog in .*data: 0\. Give at least 10"):
        catsdogs.run(data, artifacts=tmp_path / "artifacts", weights=str(tiny_backbone))
    assert not (tmp_path / "artifacts/features/manifest.json").exists()


def test_extract_warns_of_a_missing_class_and_goes_on(tmp_path, write_folder, tiny_backbone, caplog, encode, draw):
    data = write_folder(tmp_path / "data", {f"cat/{n}.jpg": encode(draw(n), "JPEG") for n in range(3)})
    done = catsdogs.extract(data, artifacts=tmp_path / "artifacts", weights=str(tiny_backbone))
    assert done.computed == 3
    assert "no head can be trained on these images: training images of the class dog in" in caplog.text


def test_images_without_labels_are_said_to_be_no_training_images(scan):
    found = scan({f"IMG_{n}.jpg": b"%d" % n for n in range(3)})
    assert found.images == {"test": {"unlabelled": 3}}
    assert "there are no labelled training images in" in found.training_problem
    assert "Put them into folders cat/ and dog/" in found.training_problem


def test_names_that_begin_with_a_class_are_labels_only_if_all_do(scan, tmp_path, write_folder):
    names = {f"{kind}_{n:03}.jpg": f"{kind}{n}".encode() for kind in ("cat", "dog") for n in range(12)}
    found = scan(names)
    assert found.images == {"train": {"cat": 12, "dog": 12}}
    assert "names that begin with a class are labels, such as cat_000.jpg" in found.rules
    mixed = write_folder(tmp_path / "mixed", names | {"holiday.jpg": b"h"})
    found = catsdogs.scan(mixed, artifacts=tmp_path)
    assert found.images == {"test": {"unlabelled": 25}}
    assert "24 names begin with a class, such as cat_000.jpg: no labels, as others do not" in found.rules


def test_a_folder_of_one_stray_image_is_no_class(scan):
    for stray in ("logo/1.png", "data/logo/1.png", "data/train/logo/1.png"):
        found = scan(images("data/train/", ("ants", "bees")) | {stray: b"logo"})
        assert found.classes == ("ants", "bees")
    assert sum(reasons(found).values()) >= 1


def test_zips_in_a_folder_are_class_folders(tmp_path, write_folder, zipped):
    files = {f"{kind}.zip": zipped({f"{n}.jpg": f"{kind}{n}".encode() for n in range(12)}) for kind in ("cats", "dogs")}
    found = catsdogs.scan(write_folder(tmp_path / "data", files), artifacts=tmp_path)
    assert found.images == {"train": {"cat": 12, "dog": 12}}
    (tmp_path / "outer.zip").write_bytes(zipped(files))
    assert catsdogs.scan(tmp_path / "outer.zip", artifacts=tmp_path) == found


def test_beside_a_zip_of_training_images_other_zips_are_not_opened(scan, zipped):
    train = zipped({f"{kind}.{n}.jpg": f"{kind}{n}".encode() for kind in ("cat", "dog") for n in range(10)})
    found = scan({"train.zip": train, "sample_submission.csv.zip": b"cut short"})
    assert (found.images, reasons(found)) == ({"train": {"cat": 10, "dog": 10}}, {"named *.zip": 1})


def test_zips_and_archives_beside_images_are_counted(scan, zipped):
    found = scan(images("", ("cat", "dog")) | {"backup.zip": zipped({"cat/1.jpg": b""}), "more.tar.gz": b""})
    assert reasons(found) == {"named *.zip": 1, "named *.gz": 1}


def test_a_folder_of_archives_names_them(tmp_path, write_folder):
    with pytest.raises(CatsDogsError, match=r"no images in .*; its files are: 2 named \*\.rar.*unpack other archives"):
        catsdogs.scan(write_folder(tmp_path / "data", {"cats.rar": b"", "dogs.rar": b""}), artifacts=tmp_path)


def test_dry_run_shows_the_scan_and_writes_nothing(tmp_path, write_folder):
    data = write_folder(tmp_path / "data", images("train/", ("cats", "dogs")) | {"train/cats/@eaDir/1.jpg/T.jpg": b"t"})
    done = command("extract", data, "--dry-run", "--artifacts", tmp_path / "artifacts")
    assert done.stdout.splitlines() == [
        "train       24 images",
        "            12 cat: cat.1, cat.2, cat.3, ...",
        "            12 dog: dog.1, dog.2, dog.3, ...",
        "classes     cat and dog",
        "read as     train/ is the training split",
        "            classes from the names of files or folders",
        "skipped     1 file",
        "            1 hidden, or left by the operating system, such as",
        "            train/cats/@eaDir/1.jpg/T.jpg",
        "training    possible by the number of images",
        f"next        catsdogs run {data} --artifacts {tmp_path / 'artifacts'}",
    ]
    assert not (tmp_path / "artifacts").exists()
    printed = command("extract", data, "--dry-run", "--json", "--artifacts", tmp_path / "artifacts").stdout
    assert json.loads(printed) == catsdogs.scan(data, artifacts=tmp_path / "artifacts").to_dict()


def test_a_scan_imports_no_tensorflow(tmp_path, write_folder):
    data = write_folder(tmp_path / "data", images("", ("cat", "dog")))
    code = f"import sys, catsdogs; catsdogs.scan({str(data)!r}, artifacts='none'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"tensorflow", "keras", "openvino", "sklearn", "scipy"} & set(loaded)


def test_one_image_is_counted_in_the_singular(tmp_path, write_folder):
    data = write_folder(tmp_path / "data", {"1.jpg": b"1"})
    assert command("extract", data, "--dry-run").stdout.splitlines()[0] == "test        1 image"
