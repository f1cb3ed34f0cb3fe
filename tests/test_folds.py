import numpy as np
import pytest

from catsdogs.folds import FOLDS, draw_folds


@pytest.fixture
def images():
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (503, 16), np.uint8), generator.integers(0, 2, 503, np.int8)


def test_folds_do_not_depend_on_the_order_of_the_images(images):
    digests, labels = images
    order = np.random.default_rng(1).permutation(len(labels))
    assert np.array_equal(draw_folds(digests[order], labels[order]), draw_folds(digests, labels)[order])


def test_folds_and_classes_are_of_equal_size_within_one(images):
    digests, labels = images
    folds = draw_folds(digests, labels)
    for chosen in (labels >= 0, labels == 0, labels == 1):
        counts = np.bincount(folds[chosen], minlength=FOLDS)
        assert counts.max() - counts.min() <= 1


def test_images_of_equal_bytes_share_a_fold(images):
    digests, labels = images
    digests[100:200] = digests[:100]
    folds = draw_folds(digests, labels)
    assert np.array_equal(folds[100:200], folds[:100])


def test_another_seed_draws_other_folds(images):
    assert not np.array_equal(draw_folds(*images, seed=1), draw_folds(*images))
