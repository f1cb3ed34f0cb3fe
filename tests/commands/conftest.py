"""Images that are computed in parts, and the cache that one machine computes of them."""

import pytest
from support.cache import tree

import catsdogs


@pytest.fixture(scope="module")
def data(tmp_path_factory, draw, encode, write_folder):
    """Forty images in two splits; one is no image, and two in different parts are identical."""
    names = [f"train/{kind}.{number}.jpg" for kind in ("cat", "dog") for number in range(14)]
    names += [f"test/{number}.jpg" for number in range(12)]
    files = {name: encode(draw(seed), "JPEG") for seed, name in enumerate(names)}
    files |= {"train/dog.3.jpg": b"this is no image", "test/9.jpg": files["train/cat.0.jpg"]}
    return write_folder(tmp_path_factory.mktemp("data"), files)


@pytest.fixture(scope="module")
def compute(data, tiny_backbone):
    def extract_into(place, data=data, **options):
        return catsdogs.extract(data, artifacts=place, **({"weights": str(tiny_backbone)} | options))

    return extract_into


@pytest.fixture(scope="module")
def whole(tmp_path_factory, compute):
    """The cache that one machine computes."""
    folder = tmp_path_factory.mktemp("whole")
    compute(folder)
    return tree(folder)
