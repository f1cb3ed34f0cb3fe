import shutil
import tracemalloc
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from support.cache import (
    CHANGED,
    IMAGES,
    OTHER,
    PROVENANCE,
    TRAIN,
    VIEWS,
    abandon,
    add,
    add_row,
    assemble,
    facts_of,
    features_of,
    fill,
    flip,
    folder_in_memory,
    fresh,
    in_order,
    labels_of,
    many,
    one_row_a_shard,
    open_writer,
    restore,
    seen,
    seen_in,
    shards_of,
    times,
    tree,
)
from support.faults import Disk, killed_before

from catsdogs.backbone.precisions import TOLERANCES
from catsdogs.cache import Cache, digest, load_features
from catsdogs.errors import CatsDogsError
from catsdogs.storage import write_atomic


@pytest.mark.parametrize(
    ("call", "ending", "committed"),
    [
        ("replace", "manifest.json.new", False),
        ("replace", "train/224.npy.new", True),
        ("replace", "test/224.sums.npy.new", True),
        ("unlink", "224.224m.npy", True),  # a shard
    ],
)
def test_a_kill_while_assembling_computes_nothing_again(cache, call, ending, committed):
    old, new = seen(cache), fresh(CHANGED)
    with killed_before(call, ending):
        fill(cache, CHANGED, prune=True)
    assert seen(cache) == (seen_in(new) if committed else old)
    assert fill(cache, CHANGED, prune=True) == {}
    assert tree(cache) == new
    assert shards_of(cache) == []


@pytest.mark.parametrize("committed", [False, True])
def test_a_power_cut_at_the_manifest_computes_nothing_again(whole, committed):
    """The kill is between the last shard and the manifest, or between the manifest and the renames."""
    new = fresh(CHANGED)
    with folder_in_memory() as root, folder_in_memory() as other:
        restore(root, whole)
        disk = Disk(root)
        with disk.recording():
            fill(root, CHANGED, prune=True)
        moves = [at for at, (kind, _, what) in enumerate(disk.log) if kind == "entry" and what[0] == "move"]
        first = next(at for at in moves if disk.log[at][2][2].name == "manifest.json")
        assert disk.log[first + 1][:2] == ("sync", root / "features")
        for seed in range(20):
            disk.after_a_cut(first + 2 if committed else first, np.random.default_rng(seed), other)
            left = tree(other)
            assert seen(other) == seen_in(new if committed else whole)
            assert tree(other) == left
            assert ("train/224.npy.new" in left) or not committed
            assert fill(other, CHANGED, prune=True) == {}
            assert tree(other) == new


def shards_elsewhere(root, images, features=features_of, **options):
    """Return shards of one row each that another machine has written."""
    with open_writer(root, images, **options) as writer, one_row_a_shard():
        for content in in_order(images):
            add_row(writer, digest(content), dict(zip(VIEWS, features(content), strict=True)), facts_of(content))
    return shards_of(root)


def brought(root, paths):
    """Copy shards of another artifacts folder into this one."""
    for path in paths:
        to = root / path.relative_to(path.parents[3])
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)


def test_a_row_damaged_in_the_arrays_is_taken_from_a_shard(cache, whole, tmp_path):
    brought(cache, shards_elsewhere(tmp_path / "other", {"train": {"cat.10": b"b"}}))
    flip(cache / "features/train/224.npy", 128 + 2 * 8192)
    with pytest.raises(CatsDogsError, match=r"1 of 4 rows in .*train are damaged .*; the first is cat\.10"):
        load_features(cache)
    assert fill(cache) == {}
    assert tree(cache) == whole


def test_a_row_that_is_damaged_after_it_was_checked_is_not_copied(cache):
    """Its copy would get a valid checksum."""
    images = IMAGES | {"train": TRAIN | {"cat.3": b"new"}}
    before = times(cache)
    with open_writer(cache, images) as writer:
        add(writer, b"new")
        flip(cache / "features/train/224.npy", -1)
        with pytest.raises(CatsDogsError, match=r"features of dog\.3 were damaged during this run\. Run the same"):
            assemble(writer, images)
    assert times(cache).keys() - before.keys() == {path for path in times(cache) if "shards" in path.parts}
    assert fill(cache, images) == {b"c": ("224",)}
    assert tree(cache) == fresh(images)


def test_a_view_added_to_one_split_is_missing_from_the_other(tmp_path, whole):
    fill(tmp_path, views=("224",))
    before = {name: content for name, content in tree(tmp_path).items() if name.startswith("test/")}
    computed = fill(tmp_path, {"train": TRAIN})
    assert computed == {b"!broken": (*VIEWS, "facts")} | dict.fromkeys([b"a", b"b", b"c"], ("224m",))
    assert {name: content for name, content in tree(tmp_path).items() if name.startswith("test/")} == before
    assert load_features(tmp_path).views == VIEWS
    assert [*Cache(tmp_path / "features").digests()] == ["train"]
    with pytest.raises(CatsDogsError, match=r"not have view 224m\. Run catsdogs extract with the test images") as told:
        load_features(tmp_path, split="test")
    assert len(str(told.value).splitlines()) == 1
    assert fill(tmp_path) == {b"!odd, too": (*VIEWS, "facts"), b"d": ("224m",)}
    assert tree(tmp_path) == whole


def test_an_image_readable_in_one_view_keeps_its_row_for_that_view(tmp_path):
    with open_writer(tmp_path) as writer:
        add(writer, b"a", ("224", "facts"))
        add_row(writer, digest(b"a"), reason="broken")
    identity = digest(b"a").tobytes()
    for views, reasons in ((("224",), {}), (VIEWS, {identity: "broken"})):
        known = open_writer(tmp_path, views=views).known()
        assert (known.missing, known.reasons) == ({identity: ()}, reasons)


def test_after_a_killed_prune_both_old_and_new_runs_can_continue(cache, whole):
    old, new = seen(cache), fresh(provenance=OTHER)
    done = abandon(cache, IMAGES, 3, provenance=OTHER, prune=True)
    with pytest.raises(
        CatsDogsError, match=r"has 6 rows computed by tiny\.keras .*; other\.keras .* would replace them"
    ):
        fill(cache, provenance=OTHER)
    assert seen(cache) == old
    assert fill(cache, IMAGES | {"train": TRAIN | {"dog.20": b"new"}}).keys() == {b"new"}
    fill(cache)
    assert tree(cache) == whole
    assert len(shards_of(cache)) == 3
    assert fill(cache, provenance=OTHER, prune=True).keys() == {*in_order(IMAGES)} - {*done}
    assert tree(cache) == new
    assert shards_of(cache) == []


def test_prune_removes_the_shards_of_other_backbones(cache, whole):
    abandon(cache, IMAGES, 3, provenance=OTHER, prune=True)
    fill(cache, prune=True)
    assert tree(cache) == whole
    assert not (cache / "features/shards").exists()


def test_shards_of_two_machines_are_combined(tmp_path, whole):
    halves = in_order(IMAGES)[:3], in_order(IMAGES)[2:]
    for number, half in enumerate(halves):
        with open_writer(tmp_path / str(number)) as writer, one_row_a_shard():
            for content in half:
                add(writer, content)
        brought(tmp_path, shards_of(tmp_path / str(number)))
    assert fill(tmp_path) == {}
    assert tree(tmp_path) == whole


def nearly(content, by):
    features = features_of(content)
    difference = np.random.default_rng(0).random(features.shape, np.float32)
    difference *= (
        by * np.linalg.norm(features, axis=1, keepdims=True) / np.linalg.norm(difference, axis=1, keepdims=True)
    )
    return features + difference


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_rows_that_differ_by_rounding_are_counted_and_the_first_is_used(tmp_path, precision):
    options, images = {"provenance": replace(PROVENANCE, precision=precision)}, {"train": {"cat.1": b"a"}}
    computed = {}
    for number, share in enumerate((0, 0.9)):
        features = nearly(b"a", share * TOLERANCES[precision])
        (path,) = shards_elsewhere(tmp_path / str(number), images, lambda _: features, **options)  # noqa: B023
        brought(tmp_path, [path])
        computed[path.name] = features.ravel()
    with open_writer(tmp_path, images, **options) as writer:
        assemble(writer, images)
    assert writer.differing == 2  # of one image in two views
    np.testing.assert_array_equal(load_features(tmp_path).features[0], computed[min(computed)])


def test_identical_rows_are_not_counted_as_differing(cache, tmp_path, whole):
    brought(cache, shards_elsewhere(tmp_path / "other", {"train": {"cat.1": b"a"}}))
    with open_writer(cache) as writer:
        assemble(writer)
    assert writer.differing == 0
    assert tree(cache) == whole


def test_rows_that_differ_by_more_than_rounding_are_an_error(cache, tmp_path):
    images = {"train": {"dog.3": b"c"}}
    (path,) = shards_elsewhere(tmp_path / "other", images, lambda content: nearly(content, 1.1 * TOLERANCES["float32"]))
    brought(cache, [path])
    before = tree(cache)
    with pytest.raises(
        CatsDogsError, match=rf"features of dog\.3 in .*{path.name} and .*train/224\.npy differ"
    ) as refused:
        fill(cache)
    assert len(str(refused.value).splitlines()) == 1
    assert tree(cache) == before
    shards_of(cache)[0].unlink()
    assert fill(cache) == {}


def test_a_shard_written_during_assembly_stays_for_the_next_run(cache, tmp_path):
    """A run does not know the rows that are written after its start."""
    late = {"train": {"dog.20": b"late"}}
    paths = shards_elsewhere(tmp_path / "other", late)
    images = IMAGES | {"train": TRAIN | {"cat.3": b"new"}}
    with mock.patch("catsdogs.cache.manifest.write_atomic", before_that(lambda: brought(cache, paths))):
        assert [*fill(cache, images)] == [b"new"]
    assert [path.name for path in shards_of(cache)] == [path.name for path in paths]
    assert tree(cache) == fresh(images)
    more = IMAGES | {"train": images["train"] | late["train"]}
    assert fill(cache, more) == {}
    assert tree(cache) == fresh(more)
    assert shards_of(cache) == []


def before_that(call):
    """Return a `write_atomic` that calls a function first."""

    def written(*arguments, **named):
        call()
        return write_atomic(*arguments, **named)

    return written


def test_an_added_image_computes_one_row_and_uses_little_memory(tmp_path):
    images = many(2000)
    with folder_in_memory() as root:
        fill(root, images, views=("224",))
        images["train"]["dog.2001"] = b"one more"
        tracemalloc.start()
        assert [*fill(root, images, views=("224",))] == [b"one more"]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 8_000_000 < (root / "features/train/224.npy").stat().st_size / 2
        assert len(load_features(root).ids) == 2001


def test_only_files_that_change_are_written(cache):
    before = times(cache)
    fill(cache, labels=lambda split, ids: 1 - labels_of(split, ids) if split == "train" else labels_of(split, ids))
    changed = {path.name for path, time in times(cache).items() if path.is_file() and time != before[path]}
    assert changed == {"labels.npy", "manifest.json"}
