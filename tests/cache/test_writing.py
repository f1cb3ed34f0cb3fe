import re
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.cache import (
    IDS,
    IMAGES,
    MOVED,
    OTHER,
    PROVENANCE,
    TRAIN,
    VIEWS,
    StopError,
    abandon,
    add_row,
    fill,
    folder_in_memory,
    fresh,
    in_order,
    labels_of,
    many,
    open_writer,
    seen,
    times,
    tree,
)

from catsdogs.cache import Cache, CacheWriter, Manifest, load_features
from catsdogs.errors import CatsDogsError

GOLDEN = Path(__file__).parent / "golden_cache"


def test_the_same_rows_give_the_stored_files_of_format_2(tmp_path):
    golden = load_features(GOLDEN)
    wanted = {"train": (golden.ids.tolist(), golden.labels)}
    with CacheWriter(tmp_path / "features", Manifest(golden.provenance, golden.views, {}), wanted) as writer:
        for row in (0, 2):
            add_row(writer, golden.digests[row], {"224": golden.features[row]}, golden.facts[row])
        add_row(writer, golden.digests[1], reason="broken, and “odd”")
        writer.assemble(golden.digests)
    assert tree(tmp_path) == tree(GOLDEN)


def test_nothing_is_written_before_the_first_row(tmp_path):
    with suppress(StopError), open_writer(tmp_path):
        raise StopError
    assert not (tmp_path / "features").exists()


def test_a_second_run_writes_nothing(cache):
    before = times(cache)
    assert fill(cache) == {}
    assert times(cache) == before


def test_added_images_compute_only_themselves(cache):
    images = IMAGES | {"train": TRAIN | {"dog.20": b"new"}}
    assert fill(cache, images) == {b"new": (*VIEWS, "facts")}
    assert tree(cache) == fresh(images)


def test_an_image_whose_bytes_change_computes_one_row(cache):
    images = IMAGES | {"train": TRAIN | {"cat.10": b"other"}}
    assert [*fill(cache, images)] == [b"other"]
    assert tree(cache) == fresh(images)


def test_an_unreadable_image_becomes_readable_and_a_readable_one_unreadable(cache):
    images = IMAGES | {"train": TRAIN | {"cat.2": b"mended", "dog.3": b"!gone"}}
    assert [*fill(cache, images)] == [b"mended", b"!gone"]
    assert load_features(cache).unreadable == {"dog.3": "gone"}
    assert tree(cache) == fresh(images)


def test_changed_labels_compute_nothing(cache):
    def others(split, ids):
        return 1 - labels_of(split, ids) if split == "train" else labels_of(split, ids)

    assert fill(cache, labels=others) == {}
    assert load_features(cache).labels.tolist() == [1, 1, 1, 0]
    assert [Cache(cache / "features").labelled(split) for split in ("train", "test")] == [True, False]
    assert tree(cache) == fresh(labels=others)


GIVEN_TWICE = {"train": TRAIN | {"dog.20": b"a", "cat.3": b"!broken", "cat.4": b"?gone"}}
RENAMED = {"train": {f"{name}0": content for name, content in TRAIN.items()}, "test": IMAGES["test"]}
ELSEWHERE = {
    "moved to the other class": IMAGES | {"train": {"dog.1": b"a", "cat.2": b"!broken", "cat.10": b"b", "dog.3": b"c"}},
    "moved to other splits and classes": MOVED,
    "renamed": RENAMED,
    "given twice": IMAGES | {"train": TRAIN | {"dog.20": b"a", "cat.3": b"!broken"}},
}


@pytest.mark.parametrize("how", ELSEWHERE)
def test_moved_images_compute_nothing_and_need_no_option(cache, how):
    assert fill(cache, ELSEWHERE[how]) == {}
    assert tree(cache) == fresh(ELSEWHERE[how])


def test_identical_images_in_two_splits_are_computed_once(tmp_path):
    assert [*fill(tmp_path, {"train": {"cat.1": b"a", "dog.3": b"a"}, "test": {"cat.1": b"a"}})] == [b"a"]
    train, test = (load_features(tmp_path, split=split) for split in ("train", "test"))
    assert train.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(train.features, np.repeat(test.features, 2, axis=0))


@pytest.mark.parametrize(
    ("train", "lost"),
    [
        ({"cat.1": b"a", "dog.3": b"c"}, "2 of the 4 train images"),
        ({"cat.1": b"a", "cat.2": b"!broken", "cat.10": b"b"}, "all 1 train images of class dog"),
        ({"cat.1": b"a", "cat.2": b"!broken", "cat.10": b"b", "cat.11": b"c"}, "all 1 train images of class dog"),
        ({"cat.3": b"x", "cat.4": b"y", "dog.3": b"c"}, "3 of the 4 train images and all 3 train images of class cat"),
    ],
)
def test_half_of_a_split_or_a_class_is_removed_only_with_prune(cache, train, lost):
    before, images = times(cache), IMAGES | {"train": train}
    with pytest.raises(CatsDogsError, match=rf"would lose {lost}\. Check .*--prune") as refused:
        fill(cache, images)
    assert len(str(refused.value).splitlines()) == 1
    assert times(cache) == before
    assert not {*fill(cache, images, prune=True)} & {*TRAIN.values()}
    assert tree(cache) == fresh(images)


def test_labels_of_other_classes_are_not_kept(cache):
    wanted, before = {"test": (["1"], np.array([0], np.int8))}, times(cache)
    with pytest.raises(CatsDogsError, match=r"with the labels cat and dog.*ants and bees"):
        CacheWriter(cache / "features", Manifest(PROVENANCE, VIEWS, {}, ("ants", "bees")), wanted)
    assert times(cache) == before


def test_a_few_images_are_removed_without_an_option(cache):
    images = IMAGES | {"train": {name: content for name, content in TRAIN.items() if name != "cat.1"}}
    assert fill(cache, images) == {}
    assert tree(cache) == fresh(images)
    assert [*fill(cache)] == [b"a"]  # its row has gone with it


def test_files_that_cannot_be_read_are_tried_each_time(cache):
    images = IMAGES | {"train": TRAIN | {"cat.3": b"?denied", "dog.20": b"?gone\n"}}
    for _ in range(2):
        assert fill(cache, images) == {}
        found = load_features(cache)
        assert found.unreadable == {"cat.2": "broken", "cat.3": "denied", "dog.20": r"gone\x0a"}
        assert not found.digests[[2, 5]].any()
        assert bytes(16) not in open_writer(cache, images).known().missing
        assert tree(cache) == fresh(images)
    assert [*fill(cache, IMAGES | {"train": TRAIN | {"cat.3": b"back"}})] == [b"back"]


@pytest.mark.parametrize(
    ("there", "images", "views", "rows"),
    [
        ({}, IMAGES, VIEWS, 24),
        (IMAGES, IMAGES, VIEWS, 0),
        (GIVEN_TWICE, GIVEN_TWICE, VIEWS, 0),
        (IMAGES, IMAGES | {"train": TRAIN | {"cat.3": b"new"}}, VIEWS, 2 * (1 + 7)),
        (IMAGES, IMAGES, (*VIEWS, "288"), 2 * 6),
        ({"train": TRAIN}, {"test": {f"{n}": b"new %d" % n for n in range(4)}}, VIEWS, 2 * 2 * 4),
    ],
)
def test_disk_space_is_checked_for_shards_and_arrays_of_new_rows(tmp_path, there, images, views, rows):
    if there:
        fill(tmp_path, there)
    usage, needed = shutil.disk_usage(tmp_path), int(1.05 * 8192 * rows)
    with mock.patch.object(shutil, "disk_usage", return_value=usage._replace(free=needed)):
        open_writer(tmp_path, images, views=views)
    too_full = mock.patch.object(shutil, "disk_usage", return_value=usage._replace(free=needed - 1))
    with too_full, pytest.raises(CatsDogsError, match=f"need {needed:,} more bytes"):
        open_writer(tmp_path, images, views=views)


def test_adding_a_split_does_not_change_the_other(tmp_path, whole):
    fill(tmp_path, {"train": TRAIN})
    assert [Cache(tmp_path / "features").labelled(split) for split in ("train", "test")] == [True, None]
    assert [*fill(tmp_path, {"test": IMAGES["test"]})] == in_order({"test": IMAGES["test"]})
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
def test_rows_of_another_provenance_are_replaced_only_with_prune(cache, whole, other):
    before = times(cache)
    with pytest.raises(CatsDogsError, match=r"has 6 rows computed by tiny.keras .*--prune"):
        open_writer(cache, **other)
    assert times(cache) == before
    images = {"train": TRAIN}
    assert {*fill(cache, images, prune=True, **other)} == ({*TRAIN.values()} if "provenance" in other else set())
    expected = fresh(images, **other)
    if "views" in other:  # a split of the same provenance stays as it is
        expected |= {name: content for name, content in whole.items() if name.startswith("test/")}
        expected["manifest.json"] = tree(cache)["manifest.json"]
        assert load_features(cache, split="test").views == ("224",)
    assert tree(cache) == expected


def test_the_error_names_only_the_differences_of_the_pixels(cache):
    fill(cache, prune=True, provenance=replace(PROVENANCE, pixels="RGB, resized by one"))
    with pytest.raises(CatsDogsError) as refused:
        fill(cache, provenance=replace(PROVENANCE, pixels="RGB, resized by another"))
    assert re.fullmatch(r".* \(.*, resized by one\); .* \(.*, resized by another\) .*", refused.value.message)
    assert "RGB" not in refused.value.message


def test_files_of_the_user_are_kept_when_a_cache_is_replaced(cache):
    (cache / "features" / "test" / "mine.npy").write_bytes(b"mine")
    fill(cache, {"train": TRAIN}, prune=True, provenance=OTHER)
    assert {name for name in tree(cache) if name.startswith("test")} == {"test/mine.npy"}


def test_the_same_weights_under_another_name_have_the_same_cache(cache, whole):
    copy = replace(PROVENANCE, weights_name="copy.keras", fingerprint="file:2", versions={"numpy": "3"})
    assert fill(cache, provenance=copy) == {}
    assert tree(cache) == whole


@given(st.permutations(in_order(IMAGES)))
def test_the_order_of_adding_rows_does_not_change_the_files(order):
    assert fresh(order=lambda _: order) == fresh()


def test_a_cache_does_not_change_before_it_is_assembled(cache):
    old, images = seen(cache), IMAGES | {"train": TRAIN | many(3)["train"]}
    assert len(fill(cache, images, stop=2)) == 2
    assert seen(cache) == old


OF_SPLIT = st.dictionaries(st.sampled_from(IDS), st.sampled_from([b"a", b"b", b"!broken", b"!odd", b"?no"]), min_size=1)
SOME = st.dictionaries(st.sampled_from(["train", "test"]), OF_SPLIT, min_size=1)
BOTH = st.fixed_dictionaries({"train": OF_SPLIT, "test": OF_SPLIT})


@given(st.lists(st.tuples(SOME, st.sampled_from(["end", "error", "kill"]), st.integers(1, 4)), max_size=4), BOTH)
@example([(IMAGES, "kill", 6)], IMAGES)
@example([(IMAGES, "end", 0), (IMAGES | {"train": TRAIN | {"cat.1": b"x"}}, "kill", 1)], IMAGES)
def test_any_sequence_of_runs_gives_the_bytes_of_a_fresh_cache(runs, last):
    assembled, waiting = {}, set()  # the rows that the next run must find
    with folder_in_memory() as root:
        for images, end, rows in [*runs, (last, "end", 0)]:
            if end == "kill":
                computed = abandon(root, images, rows, prune=True)
            else:
                computed = fill(root, images, prune=True, stop=rows if end == "error" else None)
                end = "error" if end == "error" and len(computed) == rows else "end"  # it may end before it errs
            assert not {*computed} & (
                {content for of in assembled.values() for content in in_order({"": of})} | waiting
            )
            waiting |= {*computed}
            if end == "end":
                assembled |= images
                waiting = set()
        assert tree(root) == fresh(last)
