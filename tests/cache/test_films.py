import numpy as np
import pytest

from catsdogs.cache.films import MANY, nearly_same_elsewhere


def nearly_same(features):
    return nearly_same_elsewhere(features.astype(np.float32), np.arange(len(features)))


@pytest.mark.parametrize("films", [2, 4, 12])
@pytest.mark.parametrize("photographs", [0, 100])
def test_frames_of_films_with_a_moving_camera_are_nearly_the_same(films, photographs):
    random = np.random.default_rng(films)
    shown = random.gamma(0.5, size=(3, films, 1, 2048))
    at = np.linspace(0, 2, 40)[:, np.newaxis]  # from one side of what is shown to the other
    frames = sum(np.maximum(0, 1 - abs(at - place)) * shown[place] for place in range(3)) + shown.sum(axis=0)
    features = np.concatenate([frames.reshape(-1, 2048), random.gamma(0.5, size=(photographs, 2048))])
    expected = 40 * films / len(features) if len(features) >= 100 else 0  # of fewer images, it cannot be told
    assert nearly_same(features) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("n", [100, 512])
@pytest.mark.parametrize("dimensions", [0, 1, 2, 3, 5, 7, 10, 2048])
def test_features_that_tell_few_images_apart_are_not_mistaken_for_films(n, dimensions):
    random = np.random.default_rng(dimensions)
    features = random.standard_normal((n, dimensions)) @ random.standard_normal((dimensions, 2048))
    assert nearly_same(features) < MANY


@pytest.mark.parametrize("others", [0, 1, 2, 4, 16])
def test_images_that_are_nearly_all_equal_are_no_films_and_overflow_nothing(others):
    """The 90th percentile of their distances may be 0: all of these are computed without rounding."""
    features = np.zeros((128, 2048), np.float32)
    features[:others] = 1
    with np.errstate(all="raise"):
        assert nearly_same(features) == 0
