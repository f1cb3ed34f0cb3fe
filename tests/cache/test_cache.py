import hashlib
import itertools
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.cache import (
    IDS,
    IMAGES,
    PROVENANCE,
    TRAIN,
    VIEWS,
    StopError,
    abandon,
    features_of,
    fill,
    fill_slowly,
    flip,
    folder_in_memory,
    fresh,
    labels_of,
    open_writer,
    times,
    tree,
)

from catsdogs.artifacts import Artifacts
from catsdogs.cache import CacheWriter, digest, labelled_splits, load_features, read_manifest
from catsdogs.cache.manifest import to_bytes
from catsdogs.errors import CatsDogsError
from catsdogs.locks import write_lock

GOLDEN = Path(__file__).parent / "golden_cache"
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def whole():
    return fresh()


@pytest.fixture
def cache(tmp_path):
    fill(tmp_path)
    return tmp_path


# The format


def test_every_file_opens_with_numpy_alone(cache):
    train = cache / "features" / "train"
    found = {path.name: np.load(path, allow_pickle=False) for path in train.glob("*.npy")}
    assert {name: (array.shape, array.dtype.str) for name, array in found.items()} == {
        "ids.npy": ((4,), "<U6"),
        "labels.npy": ((4,), "|i1"),
        "status.npy": ((4,), "|u1"),
        "digests.npy": ((4, 16), "|u1"),
        "224.npy": ((4, 2048), "<f4"),
        "224.sums.npy": ((4,), "<u8"),
        "224m.npy": ((4, 2048), "<f4"),
        "224m.sums.npy": ((4,), "<u8"),
    }
    assert found["ids.npy"].tolist() == list(TRAIN)
    assert found["labels.npy"].tolist() == [0, 0, 0, 1]
    assert found["status.npy"].tolist() == [1, 2, 1, 1]
    assert found["digests.npy"][0].tobytes() == hashlib.blake2b(b"a", digest_size=16).digest()
    np.testing.assert_array_equal(found["224m.npy"][3], features_of(b"c")[1])
    assert np.isnan(found["224.npy"][1]).all()
    assert (train / "unreadable.csv").read_text() == "id,reason\ncat.2,broken\n"
    assert {path.name for path in train.iterdir()} == {*found, "unreadable.csv"}


def test_the_files_are_those_that_numpy_would_save(cache):
    for path in (cache / "features").rglob("*.npy"):
        again = cache / "again.npy"
        np.save(again, np.load(path))
        assert again.read_bytes() == path.read_bytes(), path


def test_a_row_s_checksum_covers_origin_view_id_digest_and_features(cache):
    train = cache / "features" / "train"
    for view in VIEWS:
        covered = json.dumps([PROVENANCE.sha256, PROVENANCE.pixels, PROVENANCE.precision, view]).encode() + b"cat.10\0"
        covered += np.load(train / "digests.npy")[2].tobytes() + np.load(train / f"{view}.npy")[2].tobytes()
        expected = int.from_bytes(hashlib.blake2b(covered, digest_size=8).digest(), "little")
        assert np.load(train / f"{view}.sums.npy")[2] == expected


def test_the_manifest_says_what_made_the_features_and_vouches_for_the_small_files_and_itself(cache):
    folder = cache / "features"
    content = json.loads((folder / "manifest.json").read_text())
    claimed = content.pop("sha256")
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    assert claimed == hashlib.sha256(text.encode()).hexdigest()
    small = [path for path in (folder / "train").iterdir() if path.name not in ("224.npy", "224m.npy")]
    assert content == {
        "format": 1,
        "classes": ["cat", "dog"],
        "backbone": {"form": "tiny.keras", "sha256": "ab" * 32, "fingerprint": "file:1"},
        "pixels": "squashed",
        "precision": "float32",
        "engine": "none",
        "versions": {"numpy": "2"},
        "views": ["224", "224m"],
        "splits": {
            "train": {
                "images": 4,
                "labelled": 4,
                "complete": True,
                "done": {"224": 4, "224m": 4},
                "unreadable": 1,
                "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in small},
            },
            "test": content["splits"]["test"],
        },
        "renames": [],
        "removals": [],
    }


def test_a_cache_of_format_1_is_read_as_it_was_written():
    found = load_features(GOLDEN)
    assert found.ids.tolist() == ["cat.1", "cat.2", "dog.3"]
    assert found.labels.tolist() == [0, 0, 1]
    assert found.readable.tolist() == [True, False, True]
    assert found.unreadable == {"cat.2": "broken, and “odd”"}
    assert found.features.shape == (3, 2048)
    np.testing.assert_array_equal(
        found.features[0, :3], [0.07216209173202515, 0.027552366256713867, 0.01993352174758911]
    )
    assert found.provenance == PROVENANCE
    assert found.digest == "ec329133f967afa0e0a17a9ce6ac0122a236df8a797e749d9614564d1cc4e840"


def test_the_same_rows_are_written_as_format_1_was(tmp_path):
    golden = load_features(GOLDEN)
    wanted = {"train": (golden.ids.tolist(), golden.labels)}
    with CacheWriter(tmp_path / "features", golden.provenance, golden.views, wanted) as writer:
        for row in (0, 2):
            writer.put("train", row, golden.digests[row], golden.features[row][np.newaxis])
        writer.put_unreadable("train", 1, golden.digests[1], "broken, and “odd”")
    assert tree(tmp_path) == tree(GOLDEN)


def test_what_is_loaded_is_what_was_put(cache):
    found = load_features(cache)
    assert (found.ids.tolist(), found.labels.tolist()) == (list(TRAIN), [0, 0, 0, 1])
    assert (found.views, found.provenance) == (VIEWS, PROVENANCE)
    assert found.readable.tolist() == [True, False, True, True]
    assert found.unreadable == {"cat.2": "broken"}
    assert found.features.dtype == np.float32
    for row, content in enumerate(TRAIN.values()):
        assert found.digests[row].tobytes() == digest(content).tobytes()
        expected = np.full(4096, np.nan) if content.startswith(b"!") else features_of(content).ravel()
        np.testing.assert_array_equal(found.features[row], expected)
    assert load_features(cache, "test").unreadable == {"dog.20": "odd, too"}
    assert labelled_splits(cache) == {"train": True, "test": True}


def test_the_digest_of_features_tells_any_that_a_head_would_notice(tmp_path):
    digests = set()
    for number, (images, options) in enumerate(
        [
            ({"train": TRAIN}, {}),
            ({"train": TRAIN | {"dog.3": b"x"}}, {}),
            ({"train": TRAIN | {"dog.20": b"x"}}, {}),
            ({"train": TRAIN}, {"labels": lambda ids: 1 - labels_of(ids)}),
            ({"train": TRAIN}, {"views": ("224",)}),
            ({"train": TRAIN}, {"provenance": replace(PROVENANCE, sha256="cd" * 32)}),
        ]
    ):
        fill(tmp_path / str(number), images, **options)
        digests.add(load_features(tmp_path / str(number)).digest)
    assert len(digests) == 6


# Going on


def test_nothing_is_written_before_the_first_row(tmp_path):
    with suppress(StopError), open_writer(tmp_path):
        raise StopError
    assert not (tmp_path / "features").exists()


def test_a_second_run_writes_nothing(cache):
    before = times(cache)
    assert fill(cache) == []
    assert times(cache) == before


def test_added_images_compute_only_themselves(cache):
    images = IMAGES | {"train": TRAIN | {"dog.20": b"new"}}
    assert fill(cache, images) == [("train", "dog.20")]
    assert tree(cache) == fresh(images)


def test_an_image_of_changed_bytes_computes_one(cache):
    images = IMAGES | {"train": TRAIN | {"cat.10": b"other"}}
    assert fill(cache, images) == [("train", "cat.10")]
    assert tree(cache) == fresh(images)


def test_an_unreadable_image_becomes_readable_and_a_readable_one_unreadable(cache):
    images = IMAGES | {"train": TRAIN | {"cat.2": b"mended", "dog.3": b"!gone"}}
    assert fill(cache, images) == [("train", "cat.2"), ("train", "dog.3")]
    assert load_features(cache).unreadable == {"dog.3": "gone"}
    assert tree(cache) == fresh(images)


def test_another_reason_for_the_same_bytes_is_kept(cache):
    with open_writer(cache) as writer:
        writer.put_unreadable("train", 1, digest(TRAIN["cat.2"]), "another\nreason")
    assert load_features(cache).unreadable == {"cat.2": r"another\x0areason"}


def test_the_reason_of_a_row_that_a_killed_run_wrote_is_not_that_of_the_row_before(cache):
    images = IMAGES | {"train": TRAIN | {"cat.2": b"!broken otherwise"}}
    assert abandon(cache, images, 1) == [("train", "cat.2")]
    fill(cache, images)
    assert load_features(cache).unreadable == {"cat.2": "broken otherwise"}
    assert tree(cache) == fresh(images)


def test_changed_labels_compute_nothing(cache):
    def others(ids):
        return np.full(len(ids), -1, np.int8)

    assert fill(cache, labels=others) == []
    assert load_features(cache).labels.tolist() == [-1, -1, -1, -1]
    assert labelled_splits(cache) == {"train": False, "test": False}
    assert tree(cache) == fresh(labels=others)


def test_rows_are_dropped_only_when_that_is_asked_for(cache, whole):
    images = IMAGES | {"train": {"cat.1": b"a", "dog.3": b"c"}}
    with pytest.raises(CatsDogsError, match=r"would be dropped: 2 of the train split.*--prune"):
        fill(cache, images)
    assert tree(cache) == whole
    assert fill(cache, images, prune=True) == []
    assert tree(cache) == fresh(images)


def test_a_split_is_added_later_and_the_other_stays(tmp_path, whole):
    fill(tmp_path, {"train": TRAIN})
    assert labelled_splits(tmp_path) == {"train": True}
    assert {split for split, _ in fill(tmp_path, {"test": IMAGES["test"]})} == {"test"}
    assert tree(tmp_path) == whole


@pytest.mark.parametrize(
    "other",
    [
        {"provenance": replace(PROVENANCE, sha256="cd" * 32)},
        {"provenance": replace(PROVENANCE, pixels="cropped")},
        {"provenance": replace(PROVENANCE, precision="bfloat16")},
        {"views": ("224",)},
    ],
)
def test_what_something_else_made_is_kept_until_its_replacement_is_asked_for(cache, whole, other):
    with pytest.raises(CatsDogsError, match=r"holds 6 rows made by tiny.keras .*--prune"):
        fill(cache, **other)
    assert tree(cache) == whole
    images = {"train": TRAIN}
    assert len(fill(cache, images, prune=True, **other)) == 4
    assert tree(cache) == fresh(images, **other)
    assert not (cache / "features" / "test").exists()


def test_pixels_that_differ_are_told_by_what_differs(cache):
    fill(cache, prune=True, provenance=replace(PROVENANCE, pixels="RGB, squashed by one"))
    with pytest.raises(CatsDogsError) as refused:
        fill(cache, provenance=replace(PROVENANCE, pixels="RGB, squashed by another"))
    assert re.fullmatch(r".* \(.*, squashed by one\); .* \(.*, squashed by another\) .*", refused.value.message)
    assert "RGB" not in refused.value.message


def test_what_belongs_to_the_user_outlasts_a_replacement(cache):
    (cache / "features" / "test" / "mine.npy").write_bytes(b"mine")
    fill(cache, {"train": TRAIN}, prune=True, views=("224",))
    assert {name for name in tree(cache) if name.startswith("test")} == {"test/mine.npy"}


def test_the_same_weights_by_another_name_are_the_same_cache(cache, whole):
    assert (
        fill(
            cache,
            provenance=replace(PROVENANCE, weights_name="copy.keras", fingerprint="file:2", versions={"numpy": "3"}),
        )
        == []
    )
    assert tree(cache) == whole


def test_features_that_are_not_finite_are_no_row(tmp_path):
    with open_writer(tmp_path) as writer, pytest.raises(CatsDogsError, match=r"cat.1 are not finite"):
        writer.put("train", 0, digest(b"a"), np.full((2, 2048), np.nan, np.float32))


# Any order, any interruption


@given(st.permutations([(split, name) for split in IMAGES for name in IMAGES[split]]))
@settings(max_examples=15, deadline=None)
def test_the_order_of_puts_leaves_no_trace(order):
    assert fresh(order=lambda _: order) == fresh()


OF_SPLIT = st.dictionaries(st.sampled_from(IDS), st.sampled_from([b"a", b"b", b"!broken", b"!odd"]), min_size=1)
SOME = st.dictionaries(st.sampled_from(["train", "test"]), OF_SPLIT, min_size=1)
BOTH = st.fixed_dictionaries({"train": OF_SPLIT, "test": OF_SPLIT})


@given(st.lists(st.tuples(SOME, st.sampled_from(["end", "error", "kill"]), st.integers(1, 4)), max_size=4), BOTH)
@example([(IMAGES, "kill", 6)], IMAGES)
@example([(IMAGES, "end", 0), (IMAGES | {"train": TRAIN | {"cat.1": b"x"}}, "kill", 1)], IMAGES)
@settings(max_examples=60, deadline=None)
def test_any_runs_end_in_the_bytes_of_a_fresh_cache_and_compute_no_row_twice(runs, last):
    kept = {"train": {}, "test": {}}  # the rows that the next run must find
    with folder_in_memory() as root:
        for images, end, puts in [*runs, (last, "end", 0)]:
            if end == "kill":
                put = abandon(root, images, puts, prune=True)
            else:
                put = fill(root, images, prune=True, stop=puts if end == "error" else None)
                end = "error" if end == "error" and len(put) == puts else "end"  # it may end before it errs
            for split, of_split in images.items():
                now = {name: content for name, content in kept[split].items() if name in of_split}
                assert not [name for name in now if now[name] == of_split[name] and (split, name) in put]
                if end == "end":
                    kept[split] = of_split
                elif put:
                    now |= {name: of_split[name] for other, name in put if other == split}
                    # Why an image is unreadable is written when a run ends.
                    kept[split] = {n: c for n, c in now.items() if end == "error" or not c.startswith(b"!")}
        assert tree(root) == fresh(last)


def test_an_incomplete_cache_is_refused(tmp_path):
    fill(tmp_path, stop=3)
    with pytest.raises(CatsDogsError, match=r"train features in .* are not complete. Run catsdogs extract"):
        load_features(tmp_path)


@pytest.mark.parametrize("before", [{}, {"train": {"cat.1": b"x", "dog.3": b"b"}}])
def test_a_run_killed_after_its_last_row_is_completed_by_one_that_computes_nothing(tmp_path, before):
    images = {"train": {"cat.1": b"a", "dog.3": b"b"}}
    if before:
        fill(tmp_path, before)
    abandon(tmp_path, images, 2)
    with pytest.raises(CatsDogsError, match="not complete"):
        load_features(tmp_path)
    assert fill(tmp_path, images) == []
    assert tree(tmp_path) == fresh(images)


def test_an_error_while_images_are_compared_leaves_the_cache_incomplete(cache):
    changed = IMAGES | {"train": TRAIN | {"cat.1": b"x", "dog.3": b"y"}}
    fill(cache, changed, stop=1)
    with pytest.raises(CatsDogsError, match="not complete"):
        load_features(cache)


# A real kill


def test_a_kill_at_any_system_call_loses_no_whole_row_and_leaves_no_trace():
    with folder_in_memory() as root:
        code = f"import pathlib; from support import cache; cache.kill_at_every_step(pathlib.Path({str(root)!r}))"
        done = subprocess.run([sys.executable, "-c", code], cwd=TESTS, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [int(line.split()[-1]) > 20 for line in done.stdout.splitlines()] == 4 * [True]


def test_a_run_that_is_killed_again_and_again_computes_each_row_once(tmp_path):
    roots, computed = (tmp_path / "killed", tmp_path / "not"), []
    for patience in (1, 30, 50, None):
        code = f"import pathlib; from support import cache; cache.fill_slowly(pathlib.Path({str(roots[0])!r}))"
        with subprocess.Popen([sys.executable, "-c", code], cwd=TESTS, stdout=subprocess.PIPE) as run:
            lines = list(itertools.islice(run.stdout, patience))
            if patience:
                run.kill()
                lines += run.stdout
        assert run.returncode == (-signal.SIGKILL if patience else 0)
        computed += [int(line) for line in lines]
    # A row may be whole although its run was killed before it could say so.
    assert len(computed) >= 197
    assert len(set(computed)) == len(computed)
    fill_slowly(roots[1])
    assert tree(roots[0]) == tree(roots[1])


# Damage

ARRAYS = ("ids", "labels", "status", "digests", "224", "224.sums", "224m", "224m.sums")
FILES = [f"{split}/{name}" for split in IMAGES for name in (*(f"{name}.npy" for name in ARRAYS), "unreadable.csv")]
COMPUTES_NONE = ("ids.npy", "labels.npy", "status.npy")


def restore(root, content):
    for name, of_file in content.items():
        path = root / "features" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(of_file)


def readable(places):
    return [(split, name) for split, name in places if not IMAGES[split][name].startswith(b"!")]


@given(st.sampled_from([*FILES, "manifest.json"]), st.floats(0, 1, exclude_max=True), st.integers(0, 7))
@example("train/224.npy", 0.0, 0)
@settings(max_examples=200, deadline=None)
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


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"[" * 100_000, b"\xff", b'{"format": 1}'])
def test_a_manifest_that_is_none_stops_reader_and_writer(cache, content):
    (cache / "features" / "manifest.json").write_bytes(content)
    before = tree(cache)
    for attempt in (load_features, fill, labelled_splits):
        with pytest.raises(CatsDogsError, match=r"manifest\.json is damaged.*catsdogs extract"):
            attempt(cache)
    assert tree(cache) == before


def test_a_newer_format_is_refused(cache):
    path = cache / "features" / "manifest.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    for attempt in (load_features, fill):
        with pytest.raises(CatsDogsError, match=r"is of format 2, and this version reads format 1.*Use the version"):
            attempt(cache)


def test_without_a_manifest_there_are_no_features(cache, whole):
    (cache / "features" / "manifest.json").unlink()
    with pytest.raises(CatsDogsError, match=r"there are no train features in .*catsdogs extract"):
        load_features(cache)
    assert len(fill(cache)) == 6
    assert tree(cache) == whole


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


# Two at once


def test_a_reader_does_not_carry_out_what_a_writer_is_carrying_out(cache, whole):
    beside = cache / "features" / "train" / "labels.npy.new"
    (cache / "features" / "train" / "labels.npy").rename(beside)
    committed = replace(read_manifest(cache / "features"), renames=("train/labels.npy",))
    (cache / "features" / "manifest.json").write_bytes(to_bytes(committed))
    held = write_lock(Artifacts(cache))
    with ThreadPoolExecutor(1) as other:
        other.submit(held.__enter__).result()
        with pytest.raises(CatsDogsError, match="being written by another run"):
            load_features(cache)
        assert beside.exists()
        other.submit(held.__exit__, None, None, None).result()
    assert load_features(cache).labels.tolist() == [0, 0, 0, 1]
    assert tree(cache) == whole


def test_who_reads_while_another_writes_gets_the_old_features_or_the_new_ones_or_is_told(tmp_path):
    other = IMAGES | {"train": TRAIN | {"cat.1": b"x", "dog.20": b"y"}}
    states = {}
    for number, images in enumerate((IMAGES, other)):
        fill(tmp_path / str(number), images)
        states[load_features(tmp_path / str(number)).digest] = load_features(tmp_path / str(number)).features.tobytes()
    root, read, told = tmp_path / "shared", set(), set()
    code = f"import pathlib; from support import cache; cache.write_again_and_again(pathlib.Path({str(root)!r}))"
    with subprocess.Popen([sys.executable, "-c", code], cwd=TESTS, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        end = time.monotonic() + 3
        while time.monotonic() < end:
            try:
                found = load_features(root)
            except CatsDogsError as error:
                told.add(str(error))
            else:
                assert states[found.digest] == found.features.tobytes()
                read.add(found.digest)
        writer.kill()
    assert read == set(states)
    assert all("not complete" in line or "is being written" in line for line in told), told
