import numpy as np
import pytest

from catsdogs.cache import group_keys
from catsdogs.head.folds import FOLDS, draw_folds, draw_holdout, draw_order


@pytest.fixture
def images():
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (503, 16), np.uint8), generator.integers(0, 2, 503, np.int8)


def test_nothing_depends_on_the_order_of_the_images(images):
    digests, labels = images
    shuffled = np.random.default_rng(1).permutation(len(labels))
    keys, same = group_keys(digests), group_keys(digests[shuffled])
    assert np.array_equal(draw_folds(same, labels[shuffled]), draw_folds(keys, labels)[shuffled])
    held = draw_holdout(keys, labels, 0.15)
    assert np.array_equal(draw_holdout(same, labels[shuffled], 0.15), held[shuffled])
    assert np.array_equal(shuffled[draw_order(digests[shuffled])], draw_order(digests))


def test_folds_and_classes_are_of_equal_size_within_one(images):
    digests, labels = images
    folds = draw_folds(group_keys(digests), labels)
    for chosen in (labels >= 0, labels == 0, labels == 1):
        counts = np.bincount(folds[chosen], minlength=FOLDS)
        assert counts.max() - counts.min() <= 1


def test_the_holdout_has_the_same_fraction_of_each_class(images):
    digests, labels = images
    held = draw_holdout(group_keys(digests), labels, 0.15)
    for label in (0, 1):
        assert held[labels == label].mean() == pytest.approx(0.15, abs=0.003)


@pytest.mark.parametrize("how", ["equal bytes", "one group"])
def test_images_of_a_group_share_a_fold_and_are_held_out_together(images, how):
    digests, labels = images
    groups = None
    if how == "equal bytes":
        digests[100:200] = digests[:100]
    else:
        groups = np.arange(503)
        groups[100:200] = groups[:100]
    keys = group_keys(digests, groups)
    folds, held = draw_folds(keys, labels), draw_holdout(keys, labels, 0.3)
    assert np.array_equal(folds[100:200], folds[:100])
    assert np.array_equal(held[100:200], held[:100])
    assert len(np.unique(keys)) == 403


def test_the_key_of_a_group_depends_on_neither_numbering_nor_order(images):
    digests, _ = images
    groups = np.arange(503) // 2
    shuffled = np.random.default_rng(1).permutation(503)
    assert np.array_equal(group_keys(digests[shuffled], 251 - groups[shuffled]), group_keys(digests, groups)[shuffled])


def test_another_seed_draws_other_folds(images):
    digests, labels = images
    keys = group_keys(digests)
    assert not np.array_equal(draw_folds(keys, labels, seed=1), draw_folds(keys, labels))
    assert not np.array_equal(draw_order(digests, seed=1), draw_order(digests))
    assert sorted(draw_order(digests)) == list(range(503))
