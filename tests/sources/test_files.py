import errno
import io
import os
import socket
import struct
import zipfile

import pytest
from support.sources import (
    failure,
    open_descriptors,
)

from catsdogs.errors import CatsDogsError
from catsdogs.sources import Source, image_from_stream
from catsdogs.sources.files import MAX_BYTES


def test_a_file_over_the_size_limit_is_not_read(tmp_path, zipped):
    with (tmp_path / "1.jpg").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with Source(tmp_path) as source, pytest.raises(OSError, match="it has 268,435,457 bytes, more than the limit"):
        source.splits["test"].files[0].read()
    content = bytearray(zipped({"test/1.jpg": b"a"}))
    directory = content.index(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = struct.pack("<I", MAX_BYTES + 1)  # the size that it says it has
    (tmp_path / "a.zip").write_bytes(content)
    with Source(tmp_path / "a.zip") as source, pytest.raises(OSError, match="it has 268,435,457 bytes"):
        source.splits["test"].files[0].read()


def test_no_image_file_has_a_callable_attribute(tmp_path, zipped, write_folder):
    (tmp_path / "a.zip").write_bytes(zipped({"1.jpg": b"a"}))
    with Source(tmp_path / "a.zip") as packed, Source(write_folder(tmp_path / "data", {"1.jpg": b"a"})) as plain:
        files = [*packed.splits["test"].files, *plain.splits["test"].files, image_from_stream(io.BytesIO(b"a"), "-")]
        assert [file.read() for file in files] == [b"a"] * 3
    assert not [value for file in files for value in vars(file).values() if callable(value)]


def test_a_path_that_is_not_a_file_has_a_reason_without_the_path(tmp_path):
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
        "loop": "Too many levels of symbolic links",
        "pipe": "it is not a regular file",
        "socket": reasons["socket"],
    }


@pytest.mark.parametrize("name", ["pipe", "train.zip", "data/train.zip"])
def test_opening_a_pipe_does_not_wait(tmp_path, name):
    (tmp_path / "data").mkdir()
    os.mkfifo(tmp_path / name)
    assert "cannot be read (it is not a regular file)" in failure(tmp_path / name.removesuffix("/train.zip"))


def failing(number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOMEM, errno.EMFILE])
def test_a_failing_disk_does_not_make_an_image_unreadable(tmp_path, zipped, write_folder, monkeypatch, form, number):
    images = {"test/1.jpg": b"first", "test/2.jpg": b"second"}
    path = write_folder(tmp_path / "data", images)
    if form == "zip":
        path = tmp_path / "a.zip"
        path.write_bytes(zipped(images))
    with Source(path) as source, monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile if form == "zip" else os, "read" if form == "zip" else "open", failing(number))
        with pytest.raises(CatsDogsError, match=r"1\.jpg cannot be read \(.*\).* finished work is kept"):
            source.splits["test"].files[0].read()


def test_too_little_memory_does_not_make_an_image_unreadable(tmp_path, write_folder, monkeypatch):
    def too_little(*_):
        raise MemoryError

    write_folder(tmp_path, {"1.jpg": b"first"})
    with Source(tmp_path) as source, monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", too_little)
        with pytest.raises(CatsDogsError, match=r"not enough memory to read .*1\.jpg"):
            source.splits["test"].files[0].read()
