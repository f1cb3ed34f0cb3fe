from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catsdogs.exporting.layout_2017 import arrange

CLASSES = ("cat", "dog")


def digests_of(count):
    return np.frombuffer(b"".join(b"%016d" % n for n in range(count)), np.uint8).reshape(-1, 16)


def arrange_ids(*ids, seed=0):
    labels = np.array([name.startswith("dog") for name in ids], np.int8)
    return arrange(ids, labels, digests_of(len(ids)), classes=CLASSES, seed=seed)


@pytest.mark.parametrize(
    ("ids", "expected", "renumbered"),
    [
        (["cat.2", "cat.17", "dog.2"], ["2.png", "17.png", "2.png"], 0),
        (["cat.02", "cat.2", "cat.7"], ["2.png", "8.png", "7.png"], 1),
        (["cat.IMG_0017", "cat.holiday-3-004b"], ["17.png", "4.png"], 0),
        (["cat.tom", "cat.tim", "cat.9", "dog.tom"], ["10.png", "11.png", "9.png", "1.png"], 3),
        (
            ["cat.1234567890123456789", "cat.123456789012345678"],
            ["123456789012345679.png", "123456789012345678.png"],
            1,
        ),
        (["cat.\u0663", "cat.0"], ["1.png", "0.png"], 1),
    ],
)
def test_images_keep_the_last_number_of_their_id_or_get_the_next_free_one(ids, expected, renumbered):
    names, found = arrange_ids(*ids)
    assert ([name.rsplit("/", 1)[1] for name in names], found) == (expected, renumbered)


@given(st.lists(st.text("ab019", max_size=4), min_size=1, max_size=30), st.integers(0, 5))
def test_the_paths_of_images_are_unique_for_any_ids(stems, seed):
    names, _ = arrange_ids(*(f"{CLASSES[n % 2]}.{stem}" for n, stem in enumerate(stems)), seed=seed)
    assert len(set(names)) == len(stems)


def test_fifteen_per_cent_of_each_class_are_test_images_drawn_by_seed():
    ids = [f"cat.{n}" for n in range(1000)] + [f"dog.{n}" for n in range(200)]
    drawn = [arrange_ids(*ids, seed=seed)[0] for seed in (0, 0, 1)]
    for names in drawn:
        assert Counter(name.rsplit("/", 1)[0] for name in names) == {
            "cats-dogs-training/cat": 850,
            "cats-dogs-testing/cat": 150,
            "cats-dogs-training/dog": 170,
            "cats-dogs-testing/dog": 30,
        }
    assert drawn[0] == drawn[1]
    both = sum("testing" in one and "testing" in other for one, other in zip(drawn[0], drawn[2], strict=True))
    assert both < 60  # 27 of 180 by chance


def test_identical_images_are_on_the_same_side_of_the_split():
    ids = [f"cat.{n}" for n in range(300)]
    digests = digests_of(300)[np.arange(300) // 3]
    names, _ = arrange(ids, np.zeros(300, np.int8), digests, classes=CLASSES, seed=0)
    sides = [{name.split("/")[0] for name in names[first : first + 3]} for first in range(0, 300, 3)]
    assert all(len(of_three) == 1 for of_three in sides)
    assert Counter(side for (side,) in sides) == {"cats-dogs-training": 85, "cats-dogs-testing": 15}
