import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.cache import (
    CHANGED,
    EVERY,
    IMAGES,
    OTHER,
    PROVENANCE,
    TRAIN,
    VIEWS,
    abandon,
    add,
    assemble,
    facts_of,
    features_of,
    fill,
    fresh,
    in_order,
    labels_of,
    open_writer,
    seen,
    seen_in,
    tree,
)
from support.faults import killed_before

from catsdogs.cache import Cache, digest, load_features, rows
from catsdogs.cache.manifest import roll_forward
from catsdogs.errors import CatsDogsError
from catsdogs.images.facts import FACTS
from catsdogs.locks import FEATURES, write_lock

GOLDEN = Path(__file__).parent / "golden_cache"
TESTS = Path(__file__).parents[1]


def test_a_stored_cache_of_format_2_is_read():
    found = load_features(GOLDEN)
    assert found.ids.tolist() == ["cat.1", "cat.2", "dog.3"]
    assert found.labels.tolist() == [0, 0, 1]
    assert found.readable.tolist() == [True, False, True]
    assert found.unreadable == {"cat.2": "broken, and “odd”"}
    assert found.features.shape == (3, 2048)
    np.testing.assert_array_equal(
        found.features[0, :3], [0.07216209173202515, 0.027552366256713867, 0.01993352174758911]
    )
    assert found.facts[2].tolist() == (40.0, 30.0, 1002.0, 127.5, 30.25, 12.125)
    assert found.provenance == PROVENANCE
    assert found.digest == "4aa14b1e73b98f575c9c7b0f4a7fd6d9e453eafa1239f4f117dc4ef23cdecfbc"


def test_loaded_features_equal_those_added(cache):
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
        facts = np.full((), np.nan, FACTS)[()] if content.startswith(b"!") else facts_of(content)
        assert found.facts[row].tobytes() == facts.tobytes()
    assert load_features(cache, split="test").unreadable == {"dog.20": "odd, too"}
    assert [Cache(cache / "features").labelled(split) for split in ("train", "test", "other")] == [True, False, None]


def test_an_id_may_be_the_name_of_a_column(tmp_path):
    images = {"test": {"id": b"a", "reason": b"!broken"}}
    fill(tmp_path, images)
    found = load_features(tmp_path, split="test")
    assert (found.ids.tolist(), found.unreadable) == (["id", "reason"], {"reason": "broken"})
    assert fill(tmp_path, images) == {}


def test_the_digest_of_features_changes_with_anything_a_head_depends_on(tmp_path):
    digests = set()
    for number, (images, options) in enumerate(
        [
            ({"train": TRAIN}, {}),
            ({"train": TRAIN | {"dog.3": b"x"}}, {}),
            ({"train": TRAIN | {"dog.20": b"x"}}, {}),
            ({"train": TRAIN}, {"labels": lambda split, ids: 1 - labels_of(split, ids)}),
            ({"train": TRAIN}, {"views": ("224",)}),
            ({"train": TRAIN}, {"provenance": OTHER}),
            ({"train": TRAIN}, {"provenance": replace(PROVENANCE, network="ef" * 32)}),
        ]
    ):
        fill(tmp_path / str(number), images, **options)
        digests.add(load_features(tmp_path / str(number)).digest)
    assert len(digests) == 7


def test_the_digest_of_features_does_not_depend_on_the_facts(tmp_path, cache):
    with open_writer(tmp_path / "other") as writer:
        for content in in_order(IMAGES):
            add(writer, content, VIEWS)
        assemble(writer)
    with_facts, without = Cache(cache / "features"), Cache(tmp_path / "other/features")
    assert with_facts.load("train").facts.tobytes() != without.load("train").facts.tobytes()
    assert with_facts.digests() == without.digests()


def test_rows_in_shards_are_not_features_yet(tmp_path):
    fill(tmp_path, stop=3)
    with pytest.raises(
        CatsDogsError,
        match=r"no features in .* yet; 3 computed rows are in shards\. Run catsdogs run DATA, catsdogs extract",
    ):
        load_features(tmp_path)


def test_a_reader_reads_committed_files_and_renames_none(cache):
    new = fresh(CHANGED)
    with killed_before("replace", "224.npy.new"):
        fill(cache, CHANGED, prune=True)
    left = tree(cache)
    assert "train/224.npy.new" in left
    with write_lock(cache, FEATURES):
        assert seen(cache) == seen_in(new)
    assert tree(cache) == left
    assert fill(cache, CHANGED) == {}
    assert tree(cache) == new


def test_a_reader_during_another_run_sees_the_old_cache(cache):
    old = seen(cache)
    abandon(cache, CHANGED, 2, prune=True)
    assert seen(cache) == old
    with killed_before("replace", "manifest.json.new"):
        fill(cache, CHANGED, prune=True)
    assert seen(cache) == old


def test_a_reader_during_a_commit_gets_the_old_features_or_the_new(tmp_path):
    states = {load_features(filled(tmp_path / str(n), images)).digest for n, images in enumerate((IMAGES, CHANGED))}
    pairs = [seen_in(fresh(images)) for images in (IMAGES, CHANGED)]
    root, read, told = tmp_path / "shared", set(), set()
    code = f"import pathlib; from support import cache; cache.write_again_and_again(pathlib.Path({str(root)!r}))"
    with subprocess.Popen([sys.executable, "-c", code], cwd=TESTS, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        rounds = iter(range(1000 // EVERY))
        while next(rounds, None) is not None or read != states:
            read.add(load_features(root).digest)
            try:
                assert seen(root) in pairs
            except CatsDogsError as error:  # the second split is of another state than the first
                told.add(str(error))
        writer.kill()
    assert all("has changed while it was read. Run the same command again" in line for line in told), told


def filled(root, images):
    fill(root, images)
    return root


def test_a_cache_that_changes_while_it_is_read_is_read_again(cache, monkeypatch):
    images = IMAGES | {"train": TRAIN | {"cat.1": b"x"}}
    read, between = rows.read_split, iter([images])

    def read_late(where, *arguments, **named):
        for new in between:
            fill(cache, new)
        return read(where, *arguments, **named)

    monkeypatch.setattr(rows, "read_split", read_late)
    found = load_features(cache)
    monkeypatch.undo()
    assert found.digest == load_features(cache).digest
    assert found.digests[0].tobytes() == digest(b"x").tobytes()


def test_a_cache_that_changes_back_and_forth_does_not_count_as_damaged(cache, monkeypatch):
    read, between = rows.read_split, iter([CHANGED])

    def read_between(where, *arguments, **named):
        for other in between:
            fill(cache, other, prune=True)
            found = read(where, *arguments, **named)
            fill(cache, prune=True)
            return found
        return read(where, *arguments, **named)

    expected = seen(cache)
    monkeypatch.setattr(rows, "read_split", read_between)
    assert seen(cache) == expected


def rename_once_found(cache, monkeypatch):
    """Let a writer finish a commit as soon as a reader has the path of a file."""
    read = rows.read_split

    def read_late(where, *arguments, **named):
        def found(name):
            path = where(name)
            roll_forward(cache / "features")
            return path

        return read(found, *arguments, **named)

    monkeypatch.setattr(rows, "read_split", read_late)


def test_splits_match_while_a_writer_finishes_a_commit(cache, monkeypatch):
    with killed_before("replace", "224.npy.new"):
        fill(cache, CHANGED, prune=True)
    opened = Cache(cache / "features")
    opened.load("train")
    rename_once_found(cache, monkeypatch)
    assert opened.load("test").digests[0].tobytes() == digest(b"c").tobytes()


def test_ids_are_intact_if_a_writer_renames_their_file_meanwhile(cache, monkeypatch):
    images = {"train": {"cat.1": b"x", "cat.1000": b"b", "dog.3": b"c"}}
    with killed_before("replace", "ids.npy.new"):
        fill(cache, images)
    opened = Cache(cache / "features")
    assert opened.manifest.renames
    rename_once_found(cache, monkeypatch)
    assert opened.load("train").ids.tolist() == [*images["train"]]


def test_splits_of_two_states_are_never_loaded_together(cache):
    opened = Cache(cache / "features")
    opened.load("train")
    fill(cache, {"train": TRAIN | {"cat.1": b"y"}, "test": IMAGES["test"] | {"cat.1": b"x"}})
    with pytest.raises(CatsDogsError, match=r"has changed while it was read\. Run the same command again"):
        opened.load("test")
