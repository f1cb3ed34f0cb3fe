import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.cache import EVERY, IMAGES, PROVENANCE, TRAIN, VIEWS, features_of, fill, labels_of, tree

from catsdogs.cache import Cache, digest, load_features, read_manifest, rows
from catsdogs.cache.manifest import to_bytes
from catsdogs.errors import CatsDogsError
from catsdogs.locks import FEATURES, write_lock

GOLDEN = Path(__file__).parent / "golden_cache"
TESTS = Path(__file__).parents[1]


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
    assert [Cache(cache / "features").labelled(split) for split in ("train", "test", "other")] == [True, True, None]


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


def test_an_incomplete_cache_is_refused(tmp_path):
    fill(tmp_path, stop=3)
    with pytest.raises(CatsDogsError, match=r"train features in .* are not complete. Run catsdogs extract"):
        load_features(tmp_path)


def test_an_error_while_images_are_compared_leaves_the_cache_incomplete(cache):
    changed = IMAGES | {"train": TRAIN | {"cat.1": b"x", "dog.3": b"y"}}
    fill(cache, changed, stop=1)
    with pytest.raises(CatsDogsError, match="not complete"):
        load_features(cache)


def test_a_reader_leaves_to_a_writer_what_a_killed_one_has_not_carried_out(cache, whole):
    beside = cache / "features" / "train" / "labels.npy.new"
    (cache / "features" / "train" / "labels.npy").rename(beside)
    committed = replace(read_manifest(cache / "features"), renames=("train/labels.npy",))
    (cache / "features" / "manifest.json").write_bytes(to_bytes(committed))
    held = write_lock(cache, FEATURES)
    with ThreadPoolExecutor(1) as other:
        other.submit(held.__enter__).result()
        with pytest.raises(CatsDogsError, match="being written by another run"):
            load_features(cache)
        other.submit(held.__exit__, None, None, None).result()
    with pytest.raises(CatsDogsError, match=r"labels\.npy is missing or damaged\. Run catsdogs extract"):
        load_features(cache)
    assert beside.exists()
    assert fill(cache) == []
    assert tree(cache) == whole


def test_who_reads_while_another_writes_gets_old_or_new_features_or_is_told(tmp_path):
    other = IMAGES | {"train": TRAIN | {"cat.1": b"x", "dog.20": b"y"}}
    states = {}
    for number, images in enumerate((IMAGES, other)):
        fill(tmp_path / str(number), images)
        states[load_features(tmp_path / str(number)).digest] = load_features(tmp_path / str(number)).features.tobytes()
    root, read, told = tmp_path / "shared", set(), set()
    code = f"import pathlib; from support import cache; cache.write_again_and_again(pathlib.Path({str(root)!r}))"
    with subprocess.Popen([sys.executable, "-c", code], cwd=TESTS, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        start = time.monotonic()
        while (time.monotonic() < start + 3 / EVERY or read != set(states)) and time.monotonic() < start + 30:
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


def test_a_cache_that_changes_while_it_is_read_is_read_again(cache, monkeypatch):
    images = IMAGES | {"train": TRAIN | {"cat.1": b"x"}}
    read, between = rows.read, iter([images])

    def read_late(*arguments, **named):
        for new in between:
            fill(cache, new)
        return read(*arguments, **named)

    monkeypatch.setattr(rows, "read", read_late)
    found = load_features(cache)
    monkeypatch.undo()
    assert found.digest == load_features(cache).digest
    assert found.digests[0].tobytes() == digest(b"x").tobytes()


def test_splits_of_two_states_are_never_loaded_together(cache):
    opened = Cache(cache / "features")
    opened.load("train")
    fill(cache, IMAGES | {"test": {**IMAGES["test"], "cat.1": b"x"}})
    with pytest.raises(CatsDogsError, match=r"has changed while it was read\. Run the same command again"):
        opened.load("test")
