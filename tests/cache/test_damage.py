import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.cache import IMAGES, PROVENANCE, fill, flip, folder_in_memory, restore, tree

from catsdogs.cache import load_features
from catsdogs.errors import CatsDogsError

ARRAYS = ("ids", "labels", "status", "digests", "224", "224.sums", "224m", "224m.sums")
FILES = [f"{split}/{name}" for split in IMAGES for name in (*(f"{name}.npy" for name in ARRAYS), "unreadable.csv")]
COMPUTES_NONE = ("ids.npy", "labels.npy", "status.npy")


def readable(places):
    return [(split, name) for split, name in places if not IMAGES[split][name].startswith(b"!")]


@given(st.sampled_from([*FILES, "manifest.json"]), st.floats(0, 1, exclude_max=True), st.integers(0, 7))
@example("train/224.npy", 0.0, 0)
@settings(max_examples=2 * settings.default.max_examples)
def test_any_flipped_bit_is_noticed_and_costs_one_row_at_most(whole, name, where, bit):
    split = name.partition("/")[0] if "/" in name else "train"
    with folder_in_memory() as root:
        restore(root, whole)
        path = root / "features" / name
        flip(path, int(where * len(whole[name])), bit)
        with pytest.raises(CatsDogsError, match=f"features/{split if '/' in name else 'manifest'}.*catsdogs extract"):
            load_features(root, split)
        if name == "manifest.json":
            with pytest.raises(CatsDogsError, match="catsdogs extract"):
                fill(root)
            return
        computed = fill(root)
        if path.name in COMPUTES_NONE:
            assert computed == []
        assert len(readable(computed)) <= 1
        assert tree(root) == whole


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", [None, 0, 100, 0.6, 1.5])
def test_a_file_that_is_missing_or_of_another_length_is_noticed_and_mended(whole, name, size):
    with folder_in_memory() as root:
        restore(root, whole)
        path = root / "features" / name
        if size is None:
            path.unlink()
        else:
            length = size if isinstance(size, int) else int(size * len(whole[name]))
            os.truncate(path, length)
        with pytest.raises(CatsDogsError, match=r"damaged.*catsdogs extract"):
            load_features(root, path.parent.name)
        computed = fill(root)
        assert {split for split, _ in computed} <= {path.parent.name}
        if path.name in COMPUTES_NONE or size == 1.5:
            assert readable(computed) == []
        assert tree(root) == whole


def test_of_a_file_that_was_cut_only_the_rows_behind_the_cut_are_computed(cache, whole):
    os.truncate(cache / "features" / "train" / "224.npy", 128 + 2048 * 4 * 2 + 7)
    assert fill(cache) == [("train", "cat.10"), ("train", "dog.3")]
    assert tree(cache) == whole


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("train/224.npy", "train/224m.npy"),
        ("train/224.sums.npy", "train/224m.sums.npy"),
        ("train/ids.npy", "test/ids.npy"),
        ("train", "test"),
    ],
)
def test_files_in_each_other_s_place_are_noticed_and_mended(cache, whole, one, other):
    folder = cache / "features"
    (folder / one).rename(folder / "between")
    (folder / other).rename(folder / one)
    (folder / "between").rename(folder / other)
    with pytest.raises(CatsDogsError, match=r"damaged.*catsdogs extract"):
        load_features(cache)
    fill(cache)
    assert tree(cache) == whole


def test_damage_to_imported_features_is_mended_by_importing(tmp_path):
    fill(tmp_path, provenance=replace(PROVENANCE, engine="imported"))
    flip(tmp_path / "features" / "train" / "224.npy", -1)
    with pytest.raises(
        CatsDogsError, match=r"dog\.3: they do not match their checksums\. Import the same features again"
    ):
        load_features(tmp_path)


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_nothing_is_ever_unpickled(cache, whole):
    touched = cache / "touched"
    for path in (cache / "features").rglob("*.npy"):
        np.save(path, np.array([Evil(touched)] * 4, object), allow_pickle=True)
    with pytest.raises(CatsDogsError, match="damaged"):
        load_features(cache)
    fill(cache)
    assert not touched.exists()
    assert tree(cache) == whole
    pickle.loads(pickle.dumps(Evil(touched)))
    assert touched.exists()  # so it would have been noticed
