import io
import os
import random
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sources import contents, failure, of_split, open_descriptors

from catsdogs.sources import Source

DEFLATED, STORED = zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED


@pytest.mark.parametrize("outer", [STORED, DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("inner", [STORED, DEFLATED])
def test_kaggles_download_is_read_unchanged(tmp_path, kaggle_zip, expected, outer, inner):
    path = tmp_path / "dogs-vs-cats-redux-kernels-edition.zip"
    path.write_bytes(kaggle_zip(outer, inner))
    assert contents(path) == expected


def test_all_forms_of_a_source_give_the_same_ids_order_labels_and_bytes(
    tmp_path, kaggle_zip, pictures, zipped, write_folder, expected
):
    train, test = of_split(pictures, "train"), of_split(pictures, "test")
    kaggle = kaggle_zip()
    in_class_folders = {}
    for name, content in train.items():
        kind, number = name.removeprefix("train/").removesuffix(".jpg").split(".")
        in_class_folders[f"{kind}/{number}.jpg"] = content
    forms = {
        "the download in a folder": {"competition.zip": kaggle, "notes.txt": b""},
        "of 2013": {"dogs-vs-cats.zip": kaggle_zip(test="test1")},
        "two zips": {"train.zip": zipped(train, DEFLATED), "test.zip": zipped(test)},
        "two zips further down": {"a/b/train.zip": zipped(train), "a/b/test.zip": zipped(test)},
        "zips that hold no folder": {
            "train.zip": zipped({name[6:]: content for name, content in train.items()}),
            "test.zip": zipped({name[5:]: content for name, content in test.items()}),
        },
        "unpacked": pictures,
        "unpacked beside the zips": {**pictures, "train.zip": b"never opened", "test.zip": zipped(test)},
        "half unpacked": {**train, "train.zip": zipped(train), "test.zip": zipped(test)},
        "class folders": {**in_class_folders, **test},
        "flat files": {**{name[6:]: content for name, content in train.items()}, **test},
        "of 2017": {
            **{f"cats-dogs-training/{name}": content for name, content in in_class_folders.items()},
            **test,
        },
        "zip with all unpacked": {"all.zip": zipped({f"data/{name}": c for name, c in pictures.items()})},
        "zip with half unpacked": {"all.zip": zipped({**pictures, "train.zip": b"", "Test.zip": b""})},
        "zip with entries for folders": {"all.zip": zipped({"train/": b"", "test/": b"", **pictures})},
        "zip made on Windows": {"all.zip": on_windows(pictures)},
    }
    for number, (form, files) in enumerate(forms.items()):
        assert contents(write_folder(tmp_path / str(number), files)) == expected, form


def on_windows(files):
    """Return a zip as .NET before 4.6.1 wrote it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            member = zipfile.ZipInfo(name.replace("/", "\\"))
            member.create_system = 0
            archive.writestr(member, data)
    return content.getvalue()


@pytest.mark.parametrize(("split", "other"), [("train", "test"), ("test", "train")])
def test_each_of_kaggles_two_zips_is_read_alone(tmp_path, pictures, zipped, expected, split, other):
    path = tmp_path / "alone.zip"
    path.write_bytes(zipped(of_split(pictures, split), DEFLATED))
    assert contents(path) == {split: expected[split]}


def test_microsofts_pet_images_are_read_and_other_files_are_counted(tmp_path, pictures, zipped):
    picture = pictures["test/1.jpg"]
    files = {f"PetImages/{kind}/{number}.jpg": picture for kind in ("Cat", "Dog") for number in (0, 666, 11)}
    others = ("PetImages/Cat/Thumbs.db", "__MACOSX/PetImages/Cat/._0.jpg", "PetImages/.DS_Store", "readme[1].txt")
    (tmp_path / "kagglecatsanddogs_5340.zip").write_bytes(zipped(files | dict.fromkeys(others, b"x")))
    with Source(tmp_path / "kagglecatsanddogs_5340.zip") as source:
        assert source.splits["train"].ids == ("cat.0", "cat.11", "cat.666", "dog.0", "dog.11", "dog.666")
        assert source.splits["train"].labels.tolist() == [0, 0, 0, 1, 1, 1]
        assert source.splits["train"].labels.dtype == "int8"
        assert source.skipped == len(others)


def test_the_layout_of_2017_has_a_labelled_test_split(tmp_path, pictures, write_folder):
    folders = [f"cats-dogs-{split}/{kind}" for split in ("training", "testing") for kind in ("cat", "dog")]
    write_folder(tmp_path, {f"{folder}/7.png": pictures["test/1.jpg"] for folder in folders})
    with Source(str(tmp_path)) as source:
        for split in ("train", "test"):
            assert source.splits[split].ids == ("cat.7", "dog.7")
            assert source.splits[split].labels.tolist() == [0, 1]


def test_a_folder_of_unlabelled_images_is_a_test_split(tmp_path, write_folder):
    write_folder(tmp_path, {"IMG_2.jpg": b"x", "IMG_10.jpg": b"x", "IMG_1.TIFF": b"x"})
    assert contents(tmp_path) == {"test": [(f"IMG_{i}", -1, b"x") for i in (1, 2, 10)]}


@given(st.sets(st.integers(0, 10**12), min_size=2, max_size=30))
def test_numbers_are_ordered_as_numbers(zipped, numbers):
    shuffled = random.Random(0).sample(sorted(numbers), len(numbers))
    assert ids_of(zipped({f"test/{number}.jpg": b"" for number in shuffled})) == tuple(map(str, sorted(numbers)))


NAMES = st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(st.sets(NAMES, min_size=1, max_size=12).flatmap(lambda s: st.tuples(*[st.permutations(sorted(s))] * 2)))
def test_the_order_is_total_and_independent_of_the_order_of_the_files(zipped, orders):
    # The "a" keeps a name from being hidden, and from being "." or "..".
    first, second = ([f"test/a{name}.jpg" for name in order] for order in orders)
    ids = ids_of(zipped(dict.fromkeys(first, b"")))
    assert ids == ids_of(zipped(dict.fromkeys(second, b"")))
    assert len(ids) == len(first)


def ids_of(content):
    with tempfile.NamedTemporaryFile(suffix=".zip") as file:
        file.write(content)
        file.flush()
        with Source(file.name) as source:
            return source.splits["test"].ids


def test_ids_with_equal_natural_keys_have_a_fixed_order(zipped):
    twins = ["cat.02", "cat.2", "cat.002", "Cat.2", "cat.10"]
    orders = {ids_of(zipped({f"test/{name}.jpg": b"" for name in order})) for order in (twins, twins[::-1])}
    assert len(orders) == 1
    assert orders.pop()[-1] == "cat.10"


def test_reading_leaves_nothing_behind(tmp_path, kaggle_zip, monkeypatch):
    spool, data = tmp_path / "tmp", tmp_path / "data"
    spool.mkdir()
    data.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spool))
    (data / "kaggle.zip").write_bytes(kaggle_zip())
    before = open_descriptors()
    with Source(data) as source:
        assert source.splits["test"].files[0].read()
        # Even a kill would leave nothing: what is spooled has no name.
        assert list(spool.iterdir()) == []
    assert [path.name for path in data.iterdir()] == ["kaggle.zip"]
    assert open_descriptors() == before


@pytest.mark.parametrize(
    ("name", "content", "finding"),
    [
        ("x.zip", b"only text", "x.zip is not a zip"),
        ("x.zip", b"", "x.zip is not a zip"),
        ("x.csv", b"id,label", "x.csv is not a zip or a tar. Give a folder, a zip or a tar of images"),
        (
            "x.tar.gz",
            b"\x1f\x8b",
            "x.tar.gz is a gzip file such as .tar.gz, not a zip. Unpack it, such as with tar -xf",
        ),
        ("x.zip", bytes(257) + b"ustar", "x.zip is a tar file, not a zip. Name it *.tar"),
        ("x.tar", bytes(257) + b"ustar", "x.tar is truncated or damaged, or not a tar"),
        ("x.tar", b"", "x.tar is truncated or damaged, or not a tar"),
        ("x.tar", b"\n<!DOCTYPE html>", "x.tar is a web page, not a tar. Download it again"),
        ("x.7z", b"7z\xbc\xaf\x27\x1c", "x.7z is a 7z file, not a zip. Unpack it, such as with 7z x"),
        ("x.zip", b"Rar!\x1a\x07\0", "x.zip is a RAR file, not a zip"),
        ("x.zip", b"\n<!DOCTYPE html>", "x.zip is a web page, not a zip. Download it again"),
        ("x.zip.001", b"PK\3\4" + bytes(99), "x.zip.001 is one part of a split zip. Join the parts"),
        ("x.z01", b"PK\7\x08PK\3\4" + bytes(99), "x.z01 is one part of a split zip, not a zip. Join the parts"),
        ("x.jpg", b"", "x.jpg is a single image"),
        ("data/train.zip", b"only text", "train.zip is not a zip"),
        ("data/download.zip", b"only text", "download.zip is not a zip"),
        ("data/notes.txt", b"", "there are no images in"),
    ],
)
def test_a_path_that_is_not_a_source_is_an_error_of_one_line(tmp_path, write_folder, name, content, finding):
    write_folder(tmp_path, {name: content})
    assert finding in failure(tmp_path / name.split("/")[0])


@pytest.mark.parametrize("path", ["nowhere", "file/below"])
def test_a_path_that_does_not_exist_is_an_error(tmp_path, path):
    (tmp_path / "file").write_bytes(b"")
    assert failure(tmp_path / path).endswith(" does not exist. Give the path of a folder or a zip of images.")


def test_a_path_that_is_too_long_is_an_error(tmp_path):
    assert "cannot be read (File name too long)" in failure(tmp_path / ("x" * 3000))


def test_an_empty_folder_or_zip_is_an_error(tmp_path, zipped):
    assert f"there are no images in {tmp_path}" in failure(tmp_path)
    (tmp_path / "a.zip").write_bytes(zipped({}))
    assert "there are no images in" in failure(tmp_path / "a.zip")


def test_a_name_has_the_same_id_from_a_folder_and_from_any_zip(tmp_path, zipped):
    names = ["cat.é.jpg", "cat.猫.jpg", "cat.🐈.jpg"]
    raw = [*(name.encode() for name in names), b"cat.\n.jpg"]
    for name in raw:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"x")
    want = contents(tmp_path)
    assert [id_ for id_, _, _ in want["train"]][-1] == "cat.🐈"
    assert "cat.\\x0a" in {id_ for id_, _, _ in want["train"]}
    # Info-ZIP and Python mark names as UTF-8; macOS writes the same bytes without the mark.
    (tmp_path / "marked.zip").write_bytes(zipped(dict.fromkeys(names, b"x")))
    marked = contents(tmp_path / "marked.zip")["train"]
    assert marked == [row for row in want["train"] if "\\" not in row[0]]
    stand_ins = {f"{number:_<{len(name)}}".encode(): name for number, name in enumerate(raw)}
    unmarked = zipped({stand_in.decode(): b"x" for stand_in in stand_ins})
    for stand_in, name in stand_ins.items():
        unmarked = unmarked.replace(stand_in, name)
    (tmp_path / "unmarked.zip").write_bytes(unmarked)
    assert contents(tmp_path / "unmarked.zip") == want
