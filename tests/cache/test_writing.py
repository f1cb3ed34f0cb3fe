import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.cache import (
    IDS,
    IMAGES,
    PROVENANCE,
    TRAIN,
    VIEWS,
    StopError,
    abandon,
    fill,
    folder_in_memory,
    fresh,
    open_writer,
    times,
    tree,
)

from catsdogs.cache import Cache, CacheWriter, digest, load_features
from catsdogs.errors import CatsDogsError

GOLDEN = Path(__file__).parent / "golden_cache"


def test_the_same_rows_are_written_as_format_1_was(tmp_path):
    golden = load_features(GOLDEN)
    wanted = {"train": (golden.ids.tolist(), golden.labels)}
    with CacheWriter(tmp_path / "features", golden.provenance, golden.views, wanted) as writer:
        for row in (0, 2):
            writer.put(row, golden.digests[row], {"224": golden.features[row]})
        writer.put_unreadable(1, golden.digests[1], "broken, and “odd”")
    assert tree(tmp_path) == tree(GOLDEN)


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
        writer.put_unreadable(1, digest(TRAIN["cat.2"]), "another\nreason")
    assert load_features(cache).unreadable == {"cat.2": r"another\x0areason"}


def test_changed_labels_compute_nothing(cache):
    def others(ids):
        return np.full(len(ids), -1, np.int8)

    assert fill(cache, labels=others) == []
    assert load_features(cache).labels.tolist() == [-1, -1, -1, -1]
    assert [Cache(cache / "features").labelled(split) for split in ("train", "test")] == [False, False]
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
    assert [Cache(tmp_path / "features").labelled(split) for split in ("train", "test")] == [True, None]
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
        writer.put(0, digest(b"a"), dict.fromkeys(VIEWS, np.full(2048, np.nan, np.float32)))


@given(st.permutations([(split, name) for split in IMAGES for name in IMAGES[split]]))
def test_the_order_of_puts_leaves_no_trace(order):
    assert fresh(order=lambda _: order) == fresh()


OF_SPLIT = st.dictionaries(st.sampled_from(IDS), st.sampled_from([b"a", b"b", b"!broken", b"!odd"]), min_size=1)
SOME = st.dictionaries(st.sampled_from(["train", "test"]), OF_SPLIT, min_size=1)
BOTH = st.fixed_dictionaries({"train": OF_SPLIT, "test": OF_SPLIT})


@given(st.lists(st.tuples(SOME, st.sampled_from(["end", "error", "kill"]), st.integers(1, 4)), max_size=4), BOTH)
@example([(IMAGES, "kill", 6)], IMAGES)
@example([(IMAGES, "end", 0), (IMAGES | {"train": TRAIN | {"cat.1": b"x"}}, "kill", 1)], IMAGES)
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
