import numpy as np
import pytest

from catsdogs.cache.nearest import NEIGHBOURS, find_farthest, find_nearest


def cosines(features):
    with np.errstate(invalid="ignore"):
        units = features / np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return units @ units.T


@pytest.fixture
def features():
    """Clusters of different density, an unreadable image, one that is all zero, and two identical ones."""
    random = np.random.default_rng(0)
    centres = random.gamma(1, 1, (20, 64))
    spread = random.uniform(0.05, 2, 20)
    at = random.integers(0, 20, 3000)
    features = (centres[at] * random.gamma(1 / spread[at, np.newaxis], spread[at, np.newaxis], (3000, 64))).astype("f4")
    features[5], features[6], features[7] = np.nan, 0, features[8]
    return features


@pytest.mark.parametrize("queries", [[100], [7, 100, 2999]])
def test_the_nearest_images_are_those_of_a_full_comparison(features, queries):
    similar = cosines(features)[queries]
    rows, similarity = find_nearest(features, features[queries], 10)
    assert rows[:, 0].tolist() == queries
    np.testing.assert_allclose(similarity, -np.sort(-np.nan_to_num(similar, nan=-1), axis=1)[:, :10], atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(similar, rows, axis=1), similarity, atol=1e-5)


def test_an_image_is_not_its_own_neighbour_but_its_copy_is(features):
    rows, similarity = find_nearest(features, features[[7, 8]], 3, own=np.array([7, 8]))
    assert rows[:, 0].tolist() == [8, 7]
    np.testing.assert_allclose(similarity[:, 0], 1, atol=1e-6)


def test_of_equally_near_images_the_first_are_found():
    same = np.ones((50, 8), np.float32)
    assert find_nearest(same, same[:1], 5, own=np.array([0]))[0].tolist() == [[1, 2, 3, 4, 5]]
    assert find_nearest(same, same[:2], 5)[0].tolist() == [[0, 1, 2, 3, 4]] * 2


def test_unreadable_images_are_never_found(features):
    few = features[4:8]
    assert sorted(find_nearest(few, few[:1], 10)[0][0].tolist()) == [0, 2, 3]
    assert find_nearest(few[1:2], few[:1], 10)[0].shape == (1, 0)


def test_the_farthest_images_are_those_of_a_full_comparison(features):
    similar = cosines(features)
    np.fill_diagonal(similar, -np.inf)
    similar[np.isnan(similar)] = -np.inf
    similar[:, 6], similar[6] = 0, 0  # it has no direction
    similar[6, 6] = -np.inf
    distances = 1 - np.sort(similar, axis=1)[:, -NEIGHBOURS:].mean(axis=1)
    rows = np.array([row for row in range(3000) if row % 3 and row != 5])
    found, measured = find_farthest(features, rows, 20)
    assert found.tolist() == rows[np.argsort(-distances[rows], kind="stable")[:20]].tolist()
    np.testing.assert_allclose(measured, distances[found], atol=1e-5)


def test_few_images_have_few_farthest_ones(features):
    assert [len(part) for part in find_farthest(features[:3], np.arange(3), 20)] == [3, 3]
    assert [len(part) for part in find_farthest(features, np.arange(0), 20)] == [0, 0]
