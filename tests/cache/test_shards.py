import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from support.cache import (
    IMAGES,
    OTHER,
    PROVENANCE,
    TRAIN,
    VIEWS,
    abandon,
    add,
    add_missing,
    assemble,
    facts_of,
    features_of,
    fill,
    fresh,
    in_order,
    one_row_a_shard,
    open_writer,
    shards_of,
    tree,
)
from support.faults import intercepting

from catsdogs.backbone import Int8Similarity
from catsdogs.cache import digest, load_features, read_provenances, shards
from catsdogs.images.facts import FACTS
from catsdogs.storage import to_sealed_json


def test_a_shard_opens_with_numpy_alone_and_is_named_by_its_hash(tmp_path):
    fill(tmp_path, stop=3)
    (path,) = shards_of(tmp_path)
    records = np.load(path, allow_pickle=False)
    assert path.name == f"{hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()}.224.224m.npy"
    assert records["digest"].tobytes() == b"".join(digest(content).tobytes() for content in (b"a", b"!broken", b"b"))
    assert records["reason"].tolist() == [b"", b"broken", b""]
    assert records["facts"][2] == facts_of(b"b")
    np.testing.assert_array_equal(records["224m"][0], features_of(b"a")[1])
    covered = (
        json.dumps([*PROVENANCE.key, "224m"]).encode() + digest(b"a").tobytes() + b"\0" + features_of(b"a")[1].tobytes()
    )
    assert records["224m.sum"][0] == int.from_bytes(hashlib.blake2b(covered, digest_size=8).digest(), "little")


def test_the_provenance_is_written_before_the_first_shard(tmp_path):
    published = []

    def note(write):
        def noted(path, *content, **named):
            published.append(path.name)
            write(path, *content, **named)

        return noted

    with (
        mock.patch.object(shards, "write_if_changed", note(shards.write_if_changed)),
        mock.patch.object(shards, "write_atomic", note(shards.write_atomic)),
    ):
        fill(tmp_path, stop=1)
    assert published[0] == "provenance.json"
    assert [beside.provenance for beside in read_provenances(tmp_path / "features")] == [PROVENANCE]
    assert shards.count_rows(tmp_path / "features") == 1


def test_rows_wait_until_there_are_many_or_one_is_old(tmp_path):
    with open_writer(tmp_path) as writer, mock.patch.object(shards, "SHARD_ROWS", 4):
        rows = add_missing(writer)
        next(rows)
        assert shards_of(tmp_path) == []
        next(rows)  # of two views each
        assert len(shards_of(tmp_path)) == 1
        next(rows)
        with mock.patch.object(time, "monotonic", lambda now=time.monotonic: now() + shards.SHARD_SECONDS):
            next(rows)
        assert [len(np.load(path)) for path in shards_of(tmp_path)] == [2, 2]
        next(rows)
    assert shards.count_rows(tmp_path / "features") == 5


def test_memory_that_is_used_again_holds_nothing_of_earlier_rows(tmp_path):
    writer, random = shards.ShardWriter(tmp_path / "features", PROVENANCE), np.random.default_rng(0)
    digests, rows = random.integers(0, 256, (12, 16), np.uint8), random.random((12, 2048), np.float32)
    facts, found = np.frombuffer(random.bytes(6 * FACTS.itemsize), FACTS), []
    with mock.patch.object(shards, "SHARD_ROWS", 4):
        for at, measured, reason in (
            (slice(3), facts[:3], ""),
            (slice(3, 6), facts[3:], ""),
            (slice(6, 12), None, "odd"),
        ):
            writer.add(digests[at], {"224": rows[at]}, measured, reason)
            if at.stop != 3:
                writer.flush()
                before, found = found, [*found, *(path for path in shards_of(tmp_path) if path not in found)]
                new = sorted((np.load(path) for path in found[len(before) :]), key=len, reverse=True)
                assert [*map(len, new)] == [4, 2]
                records = np.concatenate(new)
                first = at.stop - 6
                assert records["digest"].tobytes() == digests[first : at.stop].tobytes()
                assert records["224"].tobytes() == rows[first : at.stop].tobytes()
                assert records["facts"].tobytes() == (bytes(facts.nbytes) if reason else facts.tobytes())
                assert set(records["reason"].tolist()) == {reason.encode()}
                assert records["facts.sum"].any() == (not reason)


def test_a_row_does_not_wait_for_the_next_that_is_added(tmp_path):
    with open_writer(tmp_path) as writer:
        add(writer, b"a")
        writer.flush_if_due()
        assert shards_of(tmp_path) == []
        with one_row_a_shard():
            writer.flush_if_due()
        assert len(shards_of(tmp_path)) == 1


def test_the_same_rows_written_by_two_processes_are_one_file(tmp_path):
    writers = [open_writer(tmp_path), open_writer(tmp_path)]
    for writer in writers:
        with writer:
            add(writer, b"a")
    assert len(shards_of(tmp_path)) == 1


def test_no_two_processes_write_to_the_same_file(tmp_path):
    written = []

    def note(name, _, arguments):
        written.extend([Path(arguments[0]).name] if name == "replace" else [])

    for root in (tmp_path / "one", tmp_path / "other"):
        with intercepting(note):
            fill(root, stop=1)
    assert len(written) == len({*written}) == 4


def test_a_shard_folder_removed_by_another_process_is_created_again(tmp_path):
    """Assembling removes an empty folder, in the worst case just before a shard is written to it."""
    writer, kept = open_writer(tmp_path), shards.write_atomic
    add(writer, b"a")

    def removed_first(path, *content, **named):
        if path.parent.exists() and calls:
            shutil.rmtree(calls.pop())
            raise FileNotFoundError(path)
        kept(path, *content, **named)

    calls = [tmp_path / "features/shards"]
    with mock.patch.object(shards, "write_atomic", removed_first), writer:
        pass
    assert (calls, shards.count_rows(tmp_path / "features")) == ([], 1)
    assert [beside.provenance for beside in read_provenances(tmp_path / "features")] == [PROVENANCE]


def test_a_damaged_shard_that_is_computed_again_is_read_again(tmp_path):
    """The new shard has the same rows, and so the same name."""
    images = {"train": {"cat.1": b"a", "cat.2": b"!broken", "dog.3": b"c"}}
    fill(tmp_path, images, stop=3)
    (path,) = shards_of(tmp_path)
    os.truncate(path, 1000)
    assert len(fill(tmp_path, images)) == 3
    assert tree(tmp_path) == fresh(images)


NO_SHARDS = [".facts", ".digest", ".reason", ".224.reason.288", ".224.224", ".224.288.224", ".224.", "..", ".224M"]


@pytest.mark.parametrize("views", NO_SHARDS)
def test_files_not_named_like_a_shard_are_ignored(tmp_path, views):
    abandon(tmp_path, IMAGES, 2)
    stray = shards_of(tmp_path)[0].with_name(f"{'0' * 32}{views}.npy")
    stray.write_bytes(bytes(100_000))
    assert shards.count_rows(tmp_path / "features") == 2
    assert len(fill(tmp_path)) == 4
    assert stray.read_bytes() == bytes(100_000)


@pytest.mark.parametrize("views", ["", ".224", ".224.224m", ".22.224", ".npy", ".2.24.4", ".factsheet.reasons"])
def test_a_shard_is_found_whatever_the_names_of_its_views(tmp_path, views):
    path = tmp_path / f"{'0' * 32}{views}.npy"
    path.touch()
    assert shards.find_shards(tmp_path) == [path]


def test_a_pipe_named_like_a_shard_is_ignored(tmp_path):
    abandon(tmp_path, IMAGES, 2)
    os.mkfifo(shards_of(tmp_path)[0].with_name(f"{'0' * 32}.224.npy"))
    assert len(fill(tmp_path)) == 4
    assert tree(tmp_path) == fresh()


def test_rows_of_another_provenance_in_a_shard_are_invalid(tmp_path):
    """For example because a folder was renamed."""
    other = tmp_path / "other"
    abandon(other, IMAGES, 6, provenance=OTHER)
    abandon(tmp_path, IMAGES, 1)
    (ours,) = shards_of(tmp_path)
    for path in shards_of(other):
        path.rename(ours.with_name(path.name))
    assert len(fill(tmp_path)) == 5
    assert tree(tmp_path) == fresh()


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[]", to_sealed_json({"provenance": 5}), b"\xff"])
def test_a_damaged_provenance_beside_shards_loses_no_row(tmp_path, content):
    done = abandon(tmp_path, IMAGES, 4)
    path = shards_of(tmp_path)[0].with_name("provenance.json")
    path.unlink() if content is None else path.write_bytes(content)
    assert read_provenances(tmp_path / "features") == []
    assert {*fill(tmp_path)} == {*in_order(IMAGES)} - {*done}
    assert tree(tmp_path) == fresh()


def test_the_int8_similarity_is_stored_beside_the_shards(tmp_path):
    similarity = Int8Similarity(64, 0.99, 0.98)
    with open_writer(tmp_path) as writer:
        writer.int8_similarity = similarity
        with one_row_a_shard():
            add(writer, b"a")
        assert open_writer(tmp_path).int8_similarity == similarity
    assert open_writer(tmp_path).int8_similarity == similarity


def test_old_incomplete_files_of_killed_processes_are_removed(tmp_path):
    abandon(tmp_path, IMAGES, 1)
    folder = shards_of(tmp_path)[0].parent
    old, young = folder / ".1.new", folder / ".2.new"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, times=(0, time.time() - 2 * 3600))
    fill(tmp_path)
    assert [path.name for path in folder.iterdir()] == [young.name]  # another process may be at it
    young.unlink()
    abandon(tmp_path, IMAGES | {"train": TRAIN | {"dog.20": b"new"}}, 1)
    fill(tmp_path, IMAGES | {"train": TRAIN | {"dog.20": b"new"}})
    assert not folder.parent.exists()


def test_a_long_reason_is_truncated(tmp_path):
    reason = "“odd”\n" + 100 * "ü"
    images = {"train": {"cat.1": b"!" + reason.encode(), "cat.2": b"a"}}
    fill(tmp_path, images)
    kept = load_features(tmp_path).unreadable["cat.1"]
    assert kept == "“odd”\\x0a" + 93 * "ü"
    assert len(kept.encode()) == 199
    assert fill(tmp_path, images) == {}


def test_only_missing_facts_are_requested(tmp_path):
    with open_writer(tmp_path) as writer, one_row_a_shard():
        for content in in_order(IMAGES):
            add(writer, content, VIEWS)
    assert fill(tmp_path) == {content: ("facts",) for content in in_order(IMAGES) if not content.startswith(b"!")}
    assert tree(tmp_path) == fresh()


def test_rows_without_facts_can_be_assembled(tmp_path):
    with open_writer(tmp_path) as writer:
        for content in in_order(IMAGES):
            add(writer, content, VIEWS)
        assemble(writer)
    assert np.isnan(load_features(tmp_path).facts["width"]).all()


def test_the_folder_of_shards_is_named_by_their_provenance():
    key = hashlib.sha256(json.dumps(PROVENANCE.key).encode()).hexdigest()[:16]
    assert shards.shards_folder(Path("features"), PROVENANCE) == Path("features", "shards", key)


def test_shards_of_a_split_that_is_not_given_are_kept(tmp_path):
    train, test = {"train": TRAIN}, {"test": IMAGES["test"]}
    computed = abandon(tmp_path, train, 3)
    fill(tmp_path, test)
    assert shards.count_rows(tmp_path / "features") == 3
    assert not {*fill(tmp_path, train)} & {*computed}
    assert tree(tmp_path) == fresh()
    assert not (tmp_path / "features/shards").exists()


def test_shards_of_a_view_that_is_not_requested_are_kept(tmp_path):
    fill(tmp_path, views=("224",))
    computed = abandon(tmp_path, IMAGES, 3)
    fill(tmp_path, views=("224",))
    assert not {*fill(tmp_path)} & {*computed}
    assert tree(tmp_path) == fresh()
    assert not (tmp_path / "features/shards").exists()


def test_shards_of_removed_images_are_removed_if_both_splits_are_given(tmp_path):
    abandon(tmp_path, IMAGES | {"train": TRAIN | {"cat.3": b"gone"}}, 7)
    fill(tmp_path)
    assert tree(tmp_path) == fresh()
    assert not (tmp_path / "features/shards").exists()
