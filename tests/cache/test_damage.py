import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.cache import (
    EVERY,
    IMAGES,
    PROVENANCE,
    TRAIN,
    VIEWS,
    fill,
    flip,
    folder_in_memory,
    fresh,
    in_order,
    restore,
    seen,
    seen_in,
    shards_of,
    tree,
)

from catsdogs.cache import load_features, npy, shards
from catsdogs.errors import CatsDogsError
from catsdogs.images.facts import FACTS, FACTS_COLUMN

MORE = {"train": TRAIN | {"cat.3": b"!waits", "dog.20": b"waits", "dog.21": b"waits too"}, "test": IMAGES["test"]}
WAITING = [b"!waits", b"waits", b"waits too"]
"""The images of a killed run, and those of them that are in a shard."""

COLUMNS = (*VIEWS, FACTS_COLUMN)


@pytest.fixture(scope="module")
def killed(whole):
    """Return {path: bytes} of a cache with three computed rows in shards."""
    with folder_in_memory() as root:
        restore(root, whole)
        assert [*fill(root, MORE, stop=3)] == WAITING
        folder = root / "features"
        content = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert len(shards_of(root)) == 1
        return content


def damage(path, random):
    """Flip a bit, truncate, overwrite a block with zeros, or remove; return which bytes have changed."""
    content = path.read_bytes()
    first = int(random.integers(len(content)))
    match random.choice(["flip", "cut", "zeros", "remove"], p=[0.4, 0.25, 0.25, 0.1]):
        case "flip":
            flip(path, first, int(random.integers(8)))
        case "cut":
            os.truncate(path, first)
        case "zeros":
            block = content[first : first + 4096]
            path.write_bytes(content[:first] + bytes(len(block)) + content[first + len(block) :])
        case "remove":
            path.unlink()
            return np.ones(len(content), bool)
    left = np.frombuffer(path.read_bytes().ljust(len(content), b"\0"), np.uint8)
    # What is cut off is missed even where it was zero.
    return (left != np.frombuffer(content, np.uint8)) | (np.arange(len(content)) >= path.stat().st_size)


def cost(name, changed, contents):
    """Return which columns must be computed again, by content, if these bytes of a file changed.

    Of what is no image that is not said: to find that out again costs nothing.
    """
    column = Path(name).stem.removesuffix(".sums")
    kinds = {"digests": (np.uint8, (16,)), FACTS_COLUMN: FACTS, **dict.fromkeys(VIEWS, (np.float32, (2048,)))}
    if name.startswith("shards/") and name.endswith(".npy"):
        dtype, contents = shards._dtype(VIEWS), WAITING
    elif column in kinds:
        dtype = np.dtype(np.uint64 if ".sums" in name else kinds[column])
    else:
        return {}
    costs, start = {}, npy.header_size(dtype)
    for at in np.flatnonzero(changed[start:]).tolist():
        row, offset = divmod(at, dtype.itemsize)
        for field, (of_field, first, *_) in (dtype.fields or {}).items() if dtype.names and dtype != FACTS else ():
            if first <= offset < first + of_field.itemsize:
                column = field.removesuffix(".sum")
        costs.setdefault(contents[row], set()).update([column] if column in COLUMNS else COLUMNS)
    return {content: columns for content, columns in costs.items() if not content.startswith(b"!")}


def computed_again(root):
    return {content: {*columns} for content, columns in fill(root, MORE).items() if not content.startswith(b"!")}


@pytest.mark.parametrize("kind", ["arrays", "small files", "shards", "manifest"])
def test_any_damage_is_detected_and_only_damaged_rows_are_computed(whole, killed, kind):
    old, new = seen_in(whole), fresh(MORE)
    kinds = {name: "shards" if "shards" in name else "manifest" for name in killed if "train" not in name}
    kinds |= {f"{split}/{view}.npy": "arrays" for split in IMAGES for view in VIEWS}
    names = sorted(name for name in killed if kinds.get(name, "small files") == kind)
    with folder_in_memory() as root:
        for seed in range(75 // EVERY):
            random = np.random.default_rng([len(kind), seed])
            restore(root, killed)
            name = names[seed % len(names)]
            changed = damage(root / "features" / name, random)
            if not changed.any():
                continue
            split = name.partition("/")[0]
            if split in IMAGES:
                with pytest.raises(CatsDogsError, match=f"features/{split}.*catsdogs extract") as noticed:
                    load_features(root, split=split)
                assert len(str(noticed.value).splitlines()) == 1
            elif kind == "manifest":
                refuse_manifest(root)
            else:
                assert seen(root) == old
            contents = in_order({split: MORE.get(split, {})}) if split == "test" else in_order({"train": TRAIN})
            assert computed_again(root) == cost(name, changed, contents), (name, seed)
            assert tree(root) == new, (name, seed)


def refuse_manifest(root):
    """Check that readers and writers refuse a damaged manifest in one line; then follow its hint."""
    path = root / "features" / "manifest.json"
    if path.exists():
        for attempt in (load_features, fill):
            with pytest.raises(CatsDogsError, match=r"manifest\.json is .*catsdogs extract") as refused:
                attempt(root)
            assert len(str(refused.value).splitlines()) == 1
        path.unlink()
    with pytest.raises(
        CatsDogsError,
        match=r"no features in .* yet; 3 computed rows are in shards. Run catsdogs run DATA, catsdogs extract",
    ):
        load_features(root)


def test_several_kinds_of_damage_are_repaired_without_an_option(killed):
    new = fresh(MORE)
    with folder_in_memory() as root:
        for seed in range(100 // EVERY):
            random = np.random.default_rng(seed)
            restore(root, killed)
            for name in random.choice(sorted({*killed} - {"manifest.json"}), 3, replace=False):
                damage(root / "features" / name, random)
            fill(root, MORE)
            assert tree(root) == new, seed


MISHAPS = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "one byte longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "first bit": lambda path: flip(path, 0),
    "last bit": lambda path: flip(path, -1),
}


@pytest.mark.parametrize("mishap", MISHAPS)
def test_a_missing_longer_or_damaged_file_is_always_detected(whole, mishap):
    with folder_in_memory() as root:
        for name in sorted(name for name in whole if name.startswith("train/")):
            restore(root, whole)
            MISHAPS[mishap](root / "features" / name)
            with pytest.raises(CatsDogsError, match=r"features/train.*damaged.*catsdogs extract"):
                load_features(root)
            fill(root)
            assert tree(root) == whole, name


def test_only_the_lost_rows_of_a_truncated_file_are_computed(cache, whole):
    os.truncate(cache / "features" / "train" / "224.npy", 128 + 2048 * 4 * 2 + 7)
    assert fill(cache) == {b"b": ("224",), b"c": ("224",)}
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
def test_swapped_files_are_detected_and_repaired(cache, whole, one, other):
    folder = cache / "features"
    (folder / one).rename(folder / "between")
    (folder / other).rename(folder / one)
    (folder / "between").rename(folder / other)
    with pytest.raises(CatsDogsError, match=r"damaged.*catsdogs extract"):
        load_features(cache)
    fill(cache)
    assert tree(cache) == whole


def test_damaged_imported_features_are_repaired_by_importing_them(tmp_path):
    fill(tmp_path, provenance=replace(PROVENANCE, engine="imported"))
    flip(tmp_path / "features" / "train" / "224.npy", -1)
    with pytest.raises(CatsDogsError, match=r"the first is dog\.3\. .* or import the same features again"):
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
