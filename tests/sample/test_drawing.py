from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import catsdogs
from catsdogs.sample import draw


@cache
def _pixels(label: int, state: int, swapped: bool = False) -> NDArray[np.uint8]:
    return np.asarray(draw(label, np.random.default_rng(state), swapped=swapped))


def _stripes(image: NDArray[np.uint8]) -> float:
    """Return how much more the middle of an image changes vertically than horizontally, over 12 pixels."""
    high, wide = image.shape[:2]
    middle = image[high // 3 :, wide // 4 : -wide // 4].mean(axis=2)
    return float(np.abs(middle[12:] - middle[:-12]).mean() - np.abs(middle[:, 12:] - middle[:, :-12]).mean())


def test_a_cat_and_a_dog_from_one_state_have_the_same_scene() -> None:
    for state in range(12):
        cat, dog = _pixels(0, state), _pixels(1, state)
        assert cat.shape == dog.shape
        same = (cat == dog).all(axis=-1)
        assert 0.1 < same.mean() < 0.99


@pytest.mark.parametrize("label", [0, 1])
def test_images_of_one_class_vary_in_size_light_and_colour(label: int) -> None:
    images = [_pixels(label, state) for state in range(24)]
    assert all(image.ndim == 3 and image.shape[2] == 3 for image in images)
    assert all(250 <= side <= 500 for image in images for side in image.shape[:2])
    assert len({image.shape for image in images}) > 20
    colours = np.array([image.mean(axis=(0, 1)) for image in images])
    assert colours.mean(axis=1).std() > 20
    assert np.ptp(colours, axis=1).max() > 30


@pytest.mark.parametrize("count", [24, pytest.param(60, marks=pytest.mark.slow)])
def test_size_and_brightness_do_not_separate_the_classes(count: int) -> None:
    facts = np.array(
        [
            [[*image.shape[:2], image[:20].mean()] for image in (_pixels(label, 2 * n + label) for n in range(count))]
            for label in (0, 1)
        ]
    )
    apart = np.abs(facts[0].mean(axis=0) - facts[1].mean(axis=0)) / facts.std(axis=(0, 1))
    assert (apart < 0.5).all()


@pytest.mark.parametrize("swapped", [False, True])
def test_cats_are_striped_and_dogs_are_not_unless_swapped(swapped: bool) -> None:
    cats, dogs = ([_stripes(_pixels(label, state, swapped)) for state in range(24)] for label in (0, 1))
    apart = np.median(cats) - np.median(dogs)
    assert -apart > 10 if swapped else apart > 10


@pytest.mark.slow
def test_random_weights_classify_most_of_the_demo_but_not_all(tmp_path: Path) -> None:
    done = catsdogs.demo(tmp_path / "demo", weights="random")
    assert 0.85 <= done.run.metrics.accuracy <= 0.95
    assert 0.85 <= done.correct / 40 <= 0.95
