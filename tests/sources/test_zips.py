import io
import random
import struct
import sys
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sources import TEST_IDS, contents, failure, of_split, read_all

from catsdogs.errors import CatsDogsError
from catsdogs.sources import Source, zips

DEFLATED, STORED = zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED


def test_a_stored_inner_zip_is_read_in_place(tmp_path, kaggle_zip, monkeypatch):
    (tmp_path / "kaggle.zip").write_bytes(kaggle_zip(outer=STORED))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert len(contents(tmp_path)["train"]) == 6


def test_too_little_space_for_a_compressed_inner_zip_is_an_error(tmp_path, kaggle_zip, monkeypatch):
    (tmp_path / "kaggle.zip").write_bytes(kaggle_zip(outer=DEFLATED))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(CatsDogsError, match=r"test.zip cannot be unpacked into .*nowhere.*Set TMPDIR"):
        Source(tmp_path)


@pytest.mark.parametrize("outer", [STORED, DEFLATED])
def test_threads_can_read_one_zip_at_the_same_time(tmp_path, zipped, outer):
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


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_zip_with_one_name_twice_has_two_images_if_their_bytes_differ(tmp_path):
    for contents_, expected in (((b"a", b"b"), {"1": b"a", "1~2": b"b"}), ((b"a", b"a"), {"1": b"a"})):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for content in contents_:
                archive.writestr("test/1.jpg", content)
        assert read_all(tmp_path / "a.zip") == expected


@given(st.sampled_from([STORED, DEFLATED]), st.sampled_from([STORED, DEFLATED]), st.data())
def test_a_truncated_zip_is_an_error_of_one_line(zipped, outer, inner, data):
    """At any position, even after a stored inner zip, which has a directory of its own."""
    within = zipped({"1.jpg": b"first", "2.jpg": b"second"}, inner)
    whole = zipped({"test.zip": within, "test1/9.jpg": bytes(90)}, outer)
    ends = [whole.index(within) + len(within) + more for more in (0, 1, 30, 60)] if outer == STORED else []
    length = data.draw(st.integers(4, len(whole) - 1) | st.sampled_from([len(whole) - 1, *ends]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.zip")
        path.write_bytes(whole[:length])
        line = failure(path)
    assert line.startswith(f"{path} is truncated or damaged")
    assert line.endswith("Download it again.")


@pytest.mark.parametrize("inner", [{}, {"train/cat.1.jpg": b"cat", "train/dog.1.jpg": b"dog"}])
@pytest.mark.parametrize("before", [b"", b"#!/bin/sh\n"])
@pytest.mark.parametrize("behind", [b"", b"PK\3\4", bytes(60_000)])
def test_the_directory_of_an_inner_zip_is_not_used_for_a_truncated_zip(tmp_path, zipped, inner, before, behind):
    outer = zipped({"sample_submission.csv": b"id,label", "train.zip": zipped(inner)})
    cut = outer[: outer.index(b"PK\1\2", outer.rindex(b"PK\5\6", 0, -22)) if inner else outer.index(b"PK\5\6") + 22]
    assert zipfile.is_zipfile(io.BytesIO(before + cut + behind))
    (tmp_path / "a.zip").write_bytes(before + cut + behind)
    assert "a.zip is truncated or damaged" in failure(tmp_path / "a.zip")


def test_a_zip_whose_first_member_was_deleted_is_read(tmp_path, zipped, pictures):
    """Some programs delete a member so: its bytes stay, but the directory no longer lists it."""
    content = zipped(pictures)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        gone, *kept = archive.infolist()
        table = archive.start_dir
    entry = 46 + len(gone.filename) + len(gone.extra) + len(gone.comment)
    end = bytearray(content[-22:])
    struct.pack_into("<HHII", end, 8, len(kept), len(kept), len(content) - 22 - table - entry, table)
    (tmp_path / "a.zip").write_bytes(content[:table] + content[table + entry : -22] + end)
    with Source(tmp_path / "a.zip") as source:
        assert sum(len(split.ids) for split in source.splits.values()) == len(kept)


def test_the_error_names_the_truncated_zip_of_a_split(tmp_path, zipped, pictures, write_folder):
    train, test = (zipped(of_split(pictures, split), DEFLATED) for split in ("train", "test"))
    write_folder(tmp_path / "data", {"train.zip": train[: len(train) * 2 // 3], "test.zip": test})
    assert f"{tmp_path / 'data/train.zip'} is truncated or damaged" in failure(tmp_path / "data")
    for outer in (STORED, DEFLATED):
        (tmp_path / "a.zip").write_bytes(zipped({"test.zip": test, "train.zip": train[:-30]}, outer))
        assert "a.zip/train.zip is truncated or damaged" in failure(tmp_path / "a.zip")


@pytest.mark.parametrize("before", [b"", b"#!/bin/sh\n"])
@pytest.mark.parametrize("comment", [b"", b"from the archive"])
@pytest.mark.parametrize("behind", [b"", b"\n", bytes(1000)])
def test_a_zip_with_a_comment_or_bytes_around_it_is_read(tmp_path, pictures, zipped, before, comment, behind):
    (tmp_path / "a.zip").write_bytes(zipped(of_split(pictures, "test")))
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.comment = comment
    (tmp_path / "a.zip").write_bytes(before + (tmp_path / "a.zip").read_bytes() + behind)
    assert read_all(tmp_path / "a.zip") == {i: pictures[f"test/{i}.jpg"] for i in TEST_IDS}


def test_a_damaged_inner_zip_is_an_error(tmp_path, zipped, kaggle_zip):
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
def test_encrypted_members_have_a_reason(tmp_path, zipped, outer):
    images = zipped({"test/1.jpg": b"a", "test/2.jpg": b"b"})
    (tmp_path / "a.zip").write_bytes(encrypted(images))
    with Source(tmp_path / "a.zip") as source, pytest.raises(OSError, match=r"^it is encrypted$"):
        source.splits["test"].files[0].read()
    (tmp_path / "b.zip").write_bytes(encrypted(zipped({"test.zip": zipped({"a.txt": b""}, outer)}, outer)))
    assert "test.zip within the zip is damaged or encrypted" in failure(tmp_path / "b.zip")


def test_a_damaged_member_has_a_reason_and_the_others_are_read(tmp_path, zipped):
    content = zipped({"test/1.jpg": b"first image", "test/2.jpg": b"second image"})
    (tmp_path / "a.zip").write_bytes(content.replace(b"first image", b"frist image"))
    with Source(tmp_path / "a.zip") as source:
        first, second = source.splits["test"].files
        with pytest.raises(OSError, match=r"^it is damaged in the zip: Bad CRC-32"):
            first.read()
        assert second.read() == b"second image"


def test_a_folder_named_like_an_image_is_a_folder(tmp_path, zipped, write_folder):
    files = {"folder.jpg/within.jpg": b"within", "1.jpg": b"first"}
    (tmp_path / "a.zip").write_bytes(zipped({"folder.jpg/": b""} | files))
    expected = {"1": b"first", "within": b"within"}
    assert read_all(tmp_path / "a.zip") == read_all(write_folder(tmp_path / "data", files)) == expected


def test_a_zip_that_is_a_dangling_link_is_an_error(tmp_path):
    (tmp_path / "train.zip").symlink_to(tmp_path / "nowhere")
    assert "train.zip cannot be read (No such file or directory)" in failure(tmp_path)


@settings(max_examples=2 * settings.default.max_examples)
@given(st.data())
def test_a_damaged_zip_is_an_error_or_an_unreadable_image(zipped, data):
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


# Zips made to harm


def members(content):
    """Return [(position in the directory, position of the member)] of a zip's entries (APPNOTE.TXT 4.3.12)."""
    found, position = [], content.find(b"PK\x01\x02")
    while position >= 0:
        found.append((position, struct.unpack_from("<I", content, position + 42)[0]))
        position = content.find(b"PK\x01\x02", position + 1)
    return found


def test_overlapping_members_have_a_reason_and_the_others_are_read(tmp_path, zipped):
    """CVE-2024-0450: one member's data, listed many times, unpacks to far more than the size of the zip."""
    content = bytearray(zipped({"test/1.jpg": b"a" * 900, "test/2.jpg": b"a" * 900, "test/3.jpg": b"c"}, DEFLATED))
    (_, first), (second, _), _ = members(content)
    (tmp_path / "a.zip").write_bytes(content[: second + 42] + struct.pack("<I", first) + content[second + 46 :])
    found = read_all(tmp_path / "a.zip")
    assert found["3"] == b"c"
    assert "it is damaged in the zip" in found["2"]


def test_a_wrong_zip64_end_lists_only_images_of_its_own_directory(tmp_path, zipped):
    """CVE-2025-8291: with a wrong locator, two programs could read two different zips."""
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
            assert (name, found) == ("1", b"seen") or (name == "1" and "it is damaged in the zip" in str(found))
        except CatsDogsError as error:
            assert "is truncated or damaged" in str(error)  # noqa: PT017 - either will do


def test_a_member_that_unpacks_to_more_than_declared_has_a_reason(tmp_path, zipped):
    content = bytearray(zipped({"test/1.jpg": bytes(5_000_000), "test/2.jpg": b"small"}, DEFLATED))
    (entry, member), _ = members(content)
    content[entry + 24 : entry + 28] = content[member + 22 : member + 26] = struct.pack("<I", 1000)
    (tmp_path / "a.zip").write_bytes(content)
    assert read_all(tmp_path / "a.zip") == {
        "1": "it is damaged in the zip: Bad CRC-32 for file 'test/1.jpg'",
        "2": b"small",
    }


@pytest.mark.parametrize("size", [3_000_000, pytest.param(300_000_000, marks=pytest.mark.slow)])
def test_an_inner_zip_that_is_a_decompression_bomb_is_not_unpacked(tmp_path, zipped, monkeypatch, size):
    monkeypatch.setattr(zips, "MAX_BYTES", min(zips.MAX_BYTES, size - 1))
    bomb = zipped({"train.zip": bytes(size)}, DEFLATED)
    (tmp_path / "a.zip").write_bytes(bomb)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        packed = archive.infolist()[0].compress_size
    assert f"has {packed:,} bytes that unpack to {size:,}" in failure(tmp_path / "a.zip")


def test_a_zip_in_a_zip_in_a_zip_is_skipped(tmp_path, zipped):
    third = zipped({"test/3.jpg": b"third"})
    second = zipped({"test/2.jpg": b"second", "test/test.zip": third, "train.zip": third})
    (tmp_path / "a.zip").write_bytes(zipped({"test.zip": second}))
    assert read_all(tmp_path / "a.zip") == {"2": b"second"}


def test_steps_up_in_the_names_of_a_zip_are_left_out(tmp_path, zipped):
    """`zip -r x.zip ../data` writes such names, and unzip leaves the steps out."""
    (tmp_path / "a.zip").write_bytes(zipped({"../data/train/cat.1.jpg": b"a", "../data/test/2.jpg": b"b"}))
    assert contents(tmp_path / "a.zip") == {"train": [("cat.1", 0, b"a")], "test": [("2", -1, b"b")]}


@pytest.mark.parametrize("compression", [STORED, DEFLATED])
def test_names_that_lead_out_of_a_zip_write_no_file(tmp_path, zipped, compression, monkeypatch):
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
