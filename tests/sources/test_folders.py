import os
import shutil

import pytest
from support.sources import contents, failure, without_privileges

from catsdogs.sources import Source


def test_links_to_folders_are_followed_except_to_parent_folders(tmp_path, write_folder):
    write_folder(tmp_path / "elsewhere", {"cat.1.jpg": b"c", "dog.1.jpg": b"d"})
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/up").symlink_to(tmp_path / "data")
    (tmp_path / "elsewhere/down").symlink_to(tmp_path / "data")
    assert contents(tmp_path / "data") == {"train": [("cat.1", 0, b"c"), ("dog.1", 1, b"d")]}


def test_the_error_names_a_path_without_read_permission(tmp_path, write_folder):
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


def test_a_folder_that_is_removed_while_folders_are_listed_is_an_error_of_one_line(tmp_path, write_folder, monkeypatch):
    write_folder(tmp_path, {"gone/cat.1.jpg": b"c", ".hidden/x.jpg": b"", "cat.2.jpg": b"d"})
    listed = os.walk

    def walk(*arguments, **options):
        for parent, below, names in listed(*arguments, **options):
            if parent.endswith(removed):
                shutil.rmtree(parent)
            yield parent, below, names

    monkeypatch.setattr(os, "walk", walk)
    removed = "hidden"
    assert set(contents(tmp_path)) == {"train"}
    removed = "gone"
    assert f"{tmp_path / 'gone'} cannot be read (No such file or directory)" in failure(tmp_path)
