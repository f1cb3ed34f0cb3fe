import errno
import io
import os
import random
import socket
import struct
import sys
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catsdogs.errors import CatsDogsError
from catsdogs.sources import Source
from catsdogs.sources.files import MAX_BYTES

DEFLATED, STORED = zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED
TRAIN_IDS = ("cat.1", "cat.2", "cat.10", "dog.1", "dog.2", "dog.10")
TEST_IDS = ("1", "2", "3", "9", "10", "100")


def contents(path):
    """Return {split: [(id, label, bytes)]} of all images of a source."""
    with Source(path) as source:
        return {
            name: [
                (id_, label, file.read())
                for id_, label, file in zip(split.ids, split.labels.tolist(), split.files, strict=True)
            ]
            for name, split in source.splits.items()
        }


def open_descriptors():
    table = Path("/proc/self/fd")
    return len(list(table.iterdir())) if table.exists() else 0


@contextmanager
def without_privileges():
    """Root may read everything; nobody may not."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def of_split(pictures, split):
    return {name: content for name, content in pictures.items() if name.startswith(f"{split}/")}


@pytest.fixture
def expected(pictures):
    train = [(i, int(i.startswith("dog")), pictures[f"train/{i}.jpg"]) for i in TRAIN_IDS]
    return {"train": train, "test": [(i, -1, pictures[f"test/{i}.jpg"]) for i in TEST_IDS]}


@pytest.fixture
def kaggle_zip(pictures, zipped):
    """Return Kaggle's download as a zip's content; the inner zips and the outer one compressed or not."""

    def build(outer=DEFLATED, inner=DEFLATED, test="test"):
        test_files = {f"{test}/{name[5:]}": content for name, content in of_split(pictures, "test").items()}
        return zipped(
            {
                "sample_submission.csv": b"id,label\n1,0.5\n",
                f"{test}.zip": zipped(test_files, inner),
                "train.zip": zipped(of_split(pictures, "train"), inner),
            },
            outer,
        )

    return build


@pytest.mark.parametrize("outer", [STORED, DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("inner", [STORED, DEFLATED])
def test_kaggles_download_is_read_as_it_comes(tmp_path, kaggle_zip, expected, outer, inner):
    path = tmp_path / "dogs-vs-cats-redux-kernels-edition.zip"
    path.write_bytes(kaggle_zip(outer, inner))
    assert contents(path) == expected


def test_the_form_of_the_source_changes_neither_ids_nor_order_nor_labels_nor_bytes(
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
        "zip made on Windows": {"all.zip": zipped({k.replace("/", "\\"): c for k, c in pictures.items()})},
    }
    for number, (form, files) in enumerate(forms.items()):
        assert contents(write_folder(tmp_path / str(number), files)) == expected, form


@pytest.mark.parametrize(("split", "other"), [("train", "test"), ("test", "train")])
def test_each_of_kaggles_two_zips_is_read_alone(tmp_path, pictures, zipped, expected, split, other):
    path = tmp_path / "alone.zip"
    path.write_bytes(zipped(of_split(pictures, split), DEFLATED))
    assert contents(path) == {split: expected[split]}


def test_microsofts_pet_images_are_read_and_what_else_lies_there_is_counted(tmp_path, pictures, zipped):
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
def test_the_order_is_total_and_owes_nothing_to_the_walk(zipped, orders):
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


def test_natural_twins_have_an_order_too(zipped):
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


def test_a_stored_inner_zip_is_read_in_place(tmp_path, kaggle_zip, monkeypatch):
    (tmp_path / "kaggle.zip").write_bytes(kaggle_zip(outer=STORED))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert len(contents(tmp_path)["train"]) == 6


def test_no_room_for_a_compressed_inner_zip_is_told(tmp_path, kaggle_zip, monkeypatch):
    (tmp_path / "kaggle.zip").write_bytes(kaggle_zip(outer=DEFLATED))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(CatsDogsError, match=r"test.zip cannot be unpacked into .*nowhere.*Set TMPDIR"):
        Source(tmp_path)


@pytest.mark.parametrize("outer", [STORED, DEFLATED])
def test_threads_that_read_one_archive_get_each_image_whole(tmp_path, zipped, outer):
    noise = random.Random(0)
    files = {f"test/{number}.jpg": noise.randbytes(noise.randrange(1, 30_000)) for number in range(60)}
    (tmp_path / "all.zip").write_bytes(zipped({"test.zip": zipped(files, DEFLATED)}, outer))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with Source(tmp_path) as source, ThreadPoolExecutor(8) as threads:
            split = source.splits["test"]
            rounds = list(threads.map(lambda file: file.read(), split.files * 10))
    finally:
        sys.setswitchinterval(before)
    assert rounds == [files[f"test/{id_}.jpg"] for id_ in split.ids] * 10


def failure(path):
    before = open_descriptors()
    with pytest.raises(CatsDogsError) as error:
        Source(path)
    assert open_descriptors() == before, "a failed opening leaves files open"
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_two_images_with_one_id_are_both_named(tmp_path, write_folder):
    write_folder(tmp_path, {"cat.1.jpg": b"", "cat/1.png": b"", "dog.1.jpg": b""})
    line = failure(tmp_path)
    assert "two images have the id cat.1" in line
    assert str(tmp_path / "cat.1.jpg") in line
    assert str(tmp_path / "cat/1.png") in line


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_zip_with_one_name_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("test/1.jpg", b"a")
        archive.writestr("test/1.jpg", b"b")
    assert "two images have the id 1" in failure(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("name", "content", "finding"),
    [
        ("x.zip", b"only text", "x.zip is not a zip"),
        ("x.zip", b"", "x.zip is not a zip"),
        ("x.tar.gz", b"\x1f\x8b", "x.tar.gz is not a zip"),
        ("x.jpg", b"", "x.jpg is one image"),
        ("data/train.zip", b"only text", "train.zip is not a zip"),
        ("data/download.zip", b"only text", "download.zip is not a zip"),
        ("data/notes.txt", b"", "there are no images in"),
    ],
)
def test_what_is_no_source_is_told_in_one_line(tmp_path, write_folder, name, content, finding):
    write_folder(tmp_path, {name: content})
    assert finding in failure(tmp_path / name.split("/")[0])


@pytest.mark.parametrize("path", ["nowhere", "file/below", "nul\0byte"])
def test_a_path_that_is_not_there_is_told(tmp_path, path):
    (tmp_path / "file").write_bytes(b"")
    assert failure(tmp_path / path).startswith("there is no ")


def test_a_path_that_no_system_takes_is_told(tmp_path):
    assert "cannot be read (File name too long)" in failure(tmp_path / ("x" * 3000))


def test_an_empty_folder_and_an_empty_zip_are_told(tmp_path, zipped):
    assert f"there are no images in {tmp_path}" in failure(tmp_path)
    (tmp_path / "a.zip").write_bytes(zipped({}))
    assert "there are no images in" in failure(tmp_path / "a.zip")


@given(st.sampled_from([STORED, DEFLATED]), st.sampled_from([STORED, DEFLATED]), st.data())
def test_a_zip_that_is_cut_short_is_one_line(zipped, outer, inner, data):
    """Wherever it is cut, behind a zip that was stored in it and has a table of its own too."""
    within = zipped({"1.jpg": b"first", "2.jpg": b"second"}, inner)
    whole = zipped({"test.zip": within, "test1/9.jpg": bytes(90)}, outer)
    ends = [whole.index(within) + len(within) + more for more in (0, 1, 30, 60)] if outer == STORED else []
    length = data.draw(st.integers(4, len(whole) - 1) | st.sampled_from([len(whole) - 1, *ends]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.zip")
        path.write_bytes(whole[:length])
        line = failure(path)
    assert line.startswith(f"{path} is cut short or damaged")
    assert line.endswith("Download it again.")


@pytest.mark.parametrize("inner", [{}, {"train/cat.1.jpg": b"cat", "train/dog.1.jpg": b"dog"}])
@pytest.mark.parametrize("behind", [b"", b"PK\3\4", bytes(60_000)])
def test_the_table_of_a_stored_zip_is_not_taken_for_the_cut_outer_ones(tmp_path, zipped, inner, behind):
    outer = zipped({"sample_submission.csv": b"id,label", "train.zip": zipped(inner)})
    cut = outer[: outer.index(b"PK\1\2", outer.rindex(b"PK\5\6", 0, -22)) if inner else outer.index(b"PK\5\6") + 22]
    assert zipfile.is_zipfile(io.BytesIO(cut + behind))
    (tmp_path / "a.zip").write_bytes(cut + behind)
    assert "a.zip is cut short or damaged" in failure(tmp_path / "a.zip")


def test_a_splits_zip_that_is_cut_short_is_named(tmp_path, zipped, pictures, write_folder):
    train, test = (zipped(of_split(pictures, split), DEFLATED) for split in ("train", "test"))
    write_folder(tmp_path / "data", {"train.zip": train[: len(train) * 2 // 3], "test.zip": test})
    assert f"{tmp_path / 'data/train.zip'} is cut short or damaged" in failure(tmp_path / "data")
    for outer in (STORED, DEFLATED):
        (tmp_path / "a.zip").write_bytes(zipped({"test.zip": test, "train.zip": train[:-30]}, outer))
        assert "a.zip/train.zip is cut short or damaged" in failure(tmp_path / "a.zip")


@pytest.mark.parametrize("before", [b"", b"#!/bin/sh\n"])
@pytest.mark.parametrize("comment", [b"", b"from the archive"])
@pytest.mark.parametrize("behind", [b"", b"\n", bytes(1000)])
def test_a_comment_and_bytes_around_a_zip_do_no_harm(tmp_path, pictures, zipped, before, comment, behind):
    (tmp_path / "a.zip").write_bytes(zipped(of_split(pictures, "test")))
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.comment = comment
    (tmp_path / "a.zip").write_bytes(before + (tmp_path / "a.zip").read_bytes() + behind)
    assert read_all(tmp_path / "a.zip") == {i: pictures[f"test/{i}.jpg"] for i in TEST_IDS}


def test_a_damaged_inner_zip_is_told(tmp_path, zipped, kaggle_zip):
    (tmp_path / "a.zip").write_bytes(zipped({"train.zip": b"only text"}))
    assert "a.zip/train.zip is not a zip" in failure(tmp_path / "a.zip")
    whole = bytearray(kaggle_zip(DEFLATED))
    middle = len(whole) // 2
    whole[middle : middle + 50] = bytes(50)
    (tmp_path / "b.zip").write_bytes(whole)
    assert "within the zip is damaged" in failure(tmp_path / "b.zip")


def encrypted(content):
    """Mark every member as encrypted, in its own header and in the directory (APPNOTE.TXT, 4.3.7 and 4.3.12)."""
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        head, *members = content.split(signature)
        members = [signature + m[: offset - 4] + bytes([m[offset - 4] | 1]) + m[offset - 3 :] for m in members]
        content = b"".join((head, *members))
    return content


@pytest.mark.parametrize("outer", [STORED, DEFLATED])
def test_encrypted_members_are_told(tmp_path, zipped, outer):
    images = zipped({"test/1.jpg": b"a", "test/2.jpg": b"b"})
    (tmp_path / "a.zip").write_bytes(encrypted(images))
    with Source(tmp_path / "a.zip") as source, pytest.raises(OSError, match=r"^it is encrypted$"):
        source.splits["test"].files[0].read()
    (tmp_path / "b.zip").write_bytes(encrypted(zipped({"test.zip": zipped({"a.txt": b""}, outer)}, outer)))
    assert "test.zip within the zip is damaged or encrypted" in failure(tmp_path / "b.zip")


def test_a_damaged_member_is_a_reason_and_the_others_are_read(tmp_path, zipped):
    content = zipped({"test/1.jpg": b"first image", "test/2.jpg": b"second image"})
    (tmp_path / "a.zip").write_bytes(content.replace(b"first image", b"frist image"))
    with Source(tmp_path / "a.zip") as source:
        first, second = source.splits["test"].files
        with pytest.raises(OSError, match=r"^the zip is damaged here: Bad CRC-32"):
            first.read()
        assert second.read() == b"second image"


def test_a_file_that_would_fill_the_memory_is_not_read(tmp_path, zipped):
    with (tmp_path / "1.jpg").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with Source(tmp_path) as source, pytest.raises(OSError, match="it holds 268,435,457 bytes, more than"):
        source.splits["test"].files[0].read()
    content = bytearray(zipped({"test/1.jpg": b"a"}))
    directory = content.index(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = struct.pack("<I", MAX_BYTES + 1)  # the size that it says it has
    (tmp_path / "a.zip").write_bytes(content)
    with Source(tmp_path / "a.zip") as source, pytest.raises(OSError, match="it holds 268,435,457 bytes"):
        source.splits["test"].files[0].read()


def test_what_is_named_like_an_image_and_is_none_is_a_reason_without_the_path(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "folder.jpg/within.jpg").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket.jpg"))
    (tmp_path / "good.jpg").write_bytes(b"good")
    before, reasons = open_descriptors(), {}
    with Source(tmp_path) as source:
        for id_, file in zip(source.splits["test"].ids, source.splits["test"].files, strict=True):
            try:
                assert file.read() == b"good"
            except OSError as error:
                reasons[id_] = str(error)
    assert open_descriptors() == before
    assert reasons == {
        "dangling": "No such file or directory",
        "folder": "it is a folder",
        "loop": "Too many levels of symbolic links",
        "pipe": "it is not a regular file",
        "socket": reasons["socket"],
    }


def test_a_folder_named_like_an_image_is_the_same_in_a_zip(tmp_path, zipped):
    (tmp_path / "a.zip").write_bytes(zipped({"folder.jpg/": b"", "folder.jpg/within.jpg": b"", "1.jpg": b""}))
    with Source(tmp_path / "a.zip") as source:
        assert source.splits["test"].ids == ("1", "folder")
        with pytest.raises(OSError, match=r"^it is a folder$"):
            source.splits["test"].files[1].read()


@pytest.mark.parametrize("name", ["pipe", "train.zip", "data/train.zip"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    (tmp_path / "data").mkdir()
    os.mkfifo(tmp_path / name)
    assert "cannot be read (it is not a regular file)" in failure(tmp_path / name.removesuffix("/train.zip"))


def test_a_zip_that_is_a_dangling_link_is_told(tmp_path):
    (tmp_path / "train.zip").symlink_to(tmp_path / "nowhere")
    assert "train.zip cannot be read (No such file or directory)" in failure(tmp_path)


def test_links_to_folders_are_followed_and_circles_are_not(tmp_path, write_folder):
    write_folder(tmp_path / "elsewhere", {"cat.1.jpg": b"c", "dog.1.jpg": b"d"})
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/up").symlink_to(tmp_path / "data")
    (tmp_path / "elsewhere/down").symlink_to(tmp_path / "data")
    assert contents(tmp_path / "data") == {"train": [("cat.1", 0, b"c"), ("dog.1", 1, b"d")]}


def test_what_may_not_be_read_is_told(tmp_path, write_folder):
    write_folder(tmp_path, {"data/1.jpg": b"a", "data/2.jpg": b"b", "data/.hidden/x.jpg": b"", "a.zip": b""})
    tmp_path.chmod(0o755)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    closed = [tmp_path / name for name in ("data/1.jpg", "data/.hidden", "a.zip")]
    for path in closed:
        path.chmod(0)
    with without_privileges():
        if not os.access(tmp_path, os.X_OK, effective_ids=True):
            pytest.skip("the temporary folder is closed to all but its owner")
        with Source(tmp_path / "data") as source:
            first, second = source.splits["test"].files
            with pytest.raises(OSError, match=r"^Permission denied$"):
                first.read()
            assert second.read() == b"b"
        assert "a.zip cannot be read (Permission denied)" in failure(tmp_path / "a.zip")
        assert "cannot be read (Permission denied)" in failure(tmp_path / "data/.hidden")
    (tmp_path / "data").chmod(0o644)
    with without_privileges():
        # Its names can be listed and nothing below it be looked at.
        source = Source(tmp_path / "data")
        with source, pytest.raises(OSError, match=r"^Permission denied$"):
            source.splits["test"].files[1].read()
    for path in (tmp_path / "data", *closed):
        path.chmod(0o755)


def test_a_name_has_the_same_id_from_a_folder_and_from_any_zip(tmp_path, zipped):
    names = ["cat.é.jpg", "cat.猫.jpg", "cat.🐈.jpg"]
    raw = [*(name.encode() for name in names), b"cat.\xff\xfe.jpg", b"cat.\n.jpg"]
    for name in raw:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"x")
    want = contents(tmp_path)
    assert [id_ for id_, _, _ in want["train"]][-1] == "cat.🐈"
    assert {"cat.\\xff\\xfe", "cat.\\x0a"} <= {id_ for id_, _, _ in want["train"]}
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


@settings(max_examples=150)
@given(st.data())
def test_a_damaged_zip_is_one_line_or_an_image_that_cannot_be_read(zipped, data):
    compression = data.draw(st.sampled_from([STORED, DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]))
    inner = zipped({"test/1.jpg": b"an image" * 9, "test/2.jpg": b"another"}, compression)
    content = bytearray(data.draw(st.sampled_from([inner, zipped({"test.zip": inner}, compression)])))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(-len(content), len(content) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            source = Source(file.name)
        except CatsDogsError as error:
            lines = str(error).splitlines()
            assert len(lines) == 1
            return
        with source:
            for image in (image for split in source.splits.values() for image in split.files):
                with suppress(OSError):
                    image.read()


def failing(number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOMEM, errno.EMFILE])
def test_a_failing_disk_is_not_taken_for_a_bad_image(tmp_path, zipped, write_folder, monkeypatch, form, number):
    images = {"test/1.jpg": b"first", "test/2.jpg": b"second"}
    path = write_folder(tmp_path / "data", images)
    if form == "zip":
        path = tmp_path / "a.zip"
        path.write_bytes(zipped(images))
    with Source(path) as source, monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile if form == "zip" else os, "read" if form == "zip" else "open", failing(number))
        with pytest.raises(CatsDogsError, match=r"1\.jpg cannot be read \(.*\)\. What is done is kept"):
            source.splits["test"].files[0].read()


def test_too_little_memory_for_a_file_is_not_taken_for_a_bad_image(tmp_path, write_folder, monkeypatch):
    def too_little(*_):
        raise MemoryError

    write_folder(tmp_path, {"1.jpg": b"first"})
    with Source(tmp_path) as source, monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", too_little)
        with pytest.raises(CatsDogsError, match=r"not enough memory to read .*1\.jpg"):
            source.splits["test"].files[0].read()


# Zips made to harm


def members(content):
    """Return [(position in the directory, position of the member)] of a zip's entries (APPNOTE.TXT 4.3.12)."""
    found, position = [], content.find(b"PK\x01\x02")
    while position >= 0:
        found.append((position, struct.unpack_from("<I", content, position + 42)[0]))
        position = content.find(b"PK\x01\x02", position + 1)
    return found


def read_all(path):
    """Return {id: bytes, or the reason why not} of a zip's test images."""
    found = {}
    with Source(path) as source:
        for name, file in zip(source.splits["test"].ids, source.splits["test"].files, strict=True):
            try:
                found[name] = file.read()
            except OSError as error:
                found[name] = str(error)
    return found


def test_overlapping_members_are_a_reason_and_the_others_are_read(tmp_path, zipped):
    """CVE-2024-0450: one member's data, listed over and over, unpacks to far more than the zip holds."""
    content = bytearray(zipped({"test/1.jpg": b"a" * 900, "test/2.jpg": b"a" * 900, "test/3.jpg": b"c"}, DEFLATED))
    (_, first), (second, _), _ = members(content)
    (tmp_path / "a.zip").write_bytes(content[: second + 42] + struct.pack("<I", first) + content[second + 46 :])
    found = read_all(tmp_path / "a.zip")
    assert found["3"] == b"c"
    assert "the zip is damaged here" in found["2"]


def test_a_zip64_end_that_lies_shows_no_other_images_than_those_of_the_end(tmp_path, zipped):
    """CVE-2025-8291: a locator that points elsewhere would have two readers see two different zips."""
    content = zipped({"test/1.jpg": b"seen"})
    end = content.index(b"PK\x05\x06")
    hidden = zipped({"test/2.jpg": b"hidden"})
    directory, size = members(hidden)[0][0], hidden.index(b"PK\x05\x06") - members(hidden)[0][0]
    record = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, size, directory)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, len(content) * 9, 1)
    for middle in (record + locator, locator, record + bytes(30) + locator):
        (tmp_path / "a.zip").write_bytes(content[:end] + middle + content[end:])
        try:
            ((name, found),) = read_all(tmp_path / "a.zip").items()
            assert (name, found) == ("1", b"seen") or (name == "1" and "the zip is damaged here" in str(found))
        except CatsDogsError as error:
            assert "is cut short or damaged" in str(error)  # noqa: PT017 - either will do


def test_a_member_that_unpacks_to_more_than_it_says_is_a_reason(tmp_path, zipped):
    content = bytearray(zipped({"test/1.jpg": bytes(50_000_000), "test/2.jpg": b"small"}, DEFLATED))
    (entry, member), _ = members(content)
    content[entry + 24 : entry + 28] = content[member + 22 : member + 26] = struct.pack("<I", 1000)
    (tmp_path / "a.zip").write_bytes(content)
    assert read_all(tmp_path / "a.zip") == {
        "1": "the zip is damaged here: Bad CRC-32 for file 'test/1.jpg'",
        "2": b"small",
    }


def test_a_zip_within_that_is_a_bomb_is_not_unpacked(tmp_path, zipped):
    bomb = zipped({"train.zip": bytes(300_000_000)}, DEFLATED)
    (tmp_path / "a.zip").write_bytes(bomb)
    assert "says that 291" in (line := failure(tmp_path / "a.zip"))
    assert "unpack to 300,000,000" in line


def test_a_zip_in_a_zip_in_a_zip_is_passed_over(tmp_path, zipped):
    third = zipped({"test/3.jpg": b"third"})
    second = zipped({"test/2.jpg": b"second", "test/test.zip": third, "train.zip": third})
    (tmp_path / "a.zip").write_bytes(zipped({"test.zip": second}))
    assert read_all(tmp_path / "a.zip") == {"2": b"second"}


@pytest.mark.parametrize("compression", [STORED, DEFLATED])
def test_names_that_climb_out_write_nothing_anywhere(tmp_path, zipped, compression, monkeypatch):
    (tmp_path / "in/here/tmp").mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "in/here/tmp"))
    names = [
        "../up.jpg",
        "../../../up.jpg",
        "/root.jpg",
        "C:\\boot.jpg",
        "test/../../up.jpg",
        "test/./1.jpg",
        "a/2.jpg",
    ]
    inner = zipped(dict.fromkeys(names, b"image"), compression)
    path = tmp_path / "in/here/a.zip"
    for content in (inner, zipped({"../test.zip": inner, "/train.zip": b""}, compression)):
        path.write_bytes(content)
        with suppress(CatsDogsError), Source(path) as source:
            assert {file.read() for split in source.splits.values() for file in split.files} == {b"image"}
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert found == {"in", "in/here", "in/here/tmp", "in/here/a.zip"}
