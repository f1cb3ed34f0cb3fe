import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sources import contents

from catsdogs.sources import Source


def ids_of(folder, split="train"):
    with Source(folder) as source:
        return source.splits[split].ids


def test_equal_numbers_in_two_folders_get_the_folder(tmp_path, write_folder):
    """Kaggle's sets with equal numbers in two subfolders."""
    kinds, batches = ("cats", "dogs"), ("batch1", "batch2")
    files = {f"train/{k}/{b}/001.jpg": f"{k}{b}".encode() for k in kinds for b in batches}
    ids = ids_of(write_folder(tmp_path, files | {"train/cats/batch2/7.jpg": b"7"}))
    assert ids == ("batch1/cat.001", "batch1/dog.001", "batch2/cat.001", "batch2/dog.001", "cat.7")


def test_equal_bytes_under_one_name_are_one_image_and_counted(tmp_path, write_folder):
    files = {"a/cat.1.jpg": b"one", "b/cat.1.jpg": b"one", "c/cat.1.jpg": b"two", "c/dog.1.jpg": b"one"}
    with Source(write_folder(tmp_path, files)) as source:
        assert source.splits["train"].ids == ("a/cat.1", "c/cat.1", "dog.1")
        (skipped,) = source.scan.skipped
    assert (skipped.files, skipped.reason) == (1, "identical to another image of that name")
    assert skipped.example == "b/cat.1.jpg"


@pytest.mark.parametrize(
    ("files", "ids"),
    [
        (["cats/1.jpg", "more/cats/1.jpg"], {"cat.1", "more/cat.1"}),
        (["Cat/1.jpg", "cats/1.jpg"], {"Cat/cat.1", "cats/cat.1"}),
        (["a/x/cat.1.jpg", "b/x/cat.1.jpg"], {"a/x/cat.1", "b/x/cat.1"}),
        (["a/b/x/cat.1.jpg", "a/c/y/cat.1.jpg"], {"x/cat.1", "y/cat.1"}),
        (["cats/1.jpg", "cats/1.png"], {"cat.1.jpg", "cat.1.png"}),
        (["cats/1.jpg", "cats/1.JPG"], {"cat.1.jpg", "cat.1.JPG"}),
        (["train/cat.1.jpg", "training_set/cat.1.jpg"], {"train/cat.1", "training_set/cat.1"}),
        (["cat.é.jpg", unicodedata.normalize("NFD", "cat.é.jpg")], {"cat.é", "cat.é~2"}),
    ],
)
def test_an_id_has_as_much_of_the_path_as_makes_it_unique(tmp_path, write_folder, files, ids):
    found = ids_of(write_folder(tmp_path, {name: name.encode() for name in [*files, "z/dog.1.jpg"]}))
    assert set(found) - {"dog.1"} == ids


def test_ids_of_test_images_stay_numbers_where_they_are_unique(tmp_path, write_folder):
    write_folder(tmp_path, {"test/a/1.jpg": b"1", "test/b/1.jpg": b"2", "test/b/2.jpg": b"2"})
    assert ids_of(tmp_path, "test") == ("2", "a/1", "b/1")


@pytest.mark.parametrize("outer", ["", "dogscats/", "a/b/"])
def test_folders_around_the_data_set_are_in_no_id(tmp_path, write_folder, zipped, outer):
    files = {f"train/{k}s/{b}/1.jpg": f"{k}{b}".encode() for k in ("cat", "dog") for b in "xy"}
    plain = ids_of(write_folder(tmp_path / "plain", files))
    assert ids_of(write_folder(tmp_path / "around", {outer + name: of for name, of in files.items()})) == plain
    (tmp_path / "a.zip").write_bytes(zipped({outer + name: of for name, of in files.items()}))
    assert ids_of(tmp_path / "a.zip") == plain


FOLDERS = st.lists(st.sampled_from(["x", "y", "cats", "Cat", "dogs", "train", "more"]), max_size=3)
TREES = st.dictionaries(
    st.tuples(FOLDERS, st.sampled_from(["cat.1.jpg", "cat.1.png", "dog.2.jpg", "cat.02.jpg"])).map(
        lambda path: "/".join((*path[0], path[1]))
    ),
    st.sampled_from([b"a", b"b", b"cc"]),
    min_size=1,
    max_size=12,
)


@given(TREES.flatmap(lambda tree: st.tuples(st.just(tree), st.permutations(sorted(tree)))))
def test_ids_are_unique_and_the_same_from_a_folder_and_a_zip_in_any_order(write_folder, zipped, drawn):
    tree, order = drawn
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a.zip").write_bytes(zipped({path: tree[path] for path in order}))
        (folder / "b.zip").write_bytes(zipped({"data.zip": zipped({path: tree[path] for path in sorted(tree)})}))
        found = contents(write_folder(folder / "plain", tree))
        assert contents(folder / "a.zip") == contents(folder / "b.zip") == found
    for images in found.values():
        ids = [id_ for id_, _, _ in images]
        assert len(set(ids)) == len(ids)
        assert ids
