from dataclasses import replace

import numpy as np
import pytest

import catsdogs
from catsdogs.reporting.unusual import FARTHEST, choose_unusual, describe_facts

EXTREME = {
    "darkest": ("brightness", -1, "brightness -1 of 255"),
    "brightest": ("brightness", 254, "brightness 254 of 255"),
    "least contrast": ("contrast", 0.5, "contrast 0.5"),
    "blurred": ("sharpness", 2, "sharpness 2"),
    "most elongated": ("width", 5000, "5000 x 300 pixels"),
    "tiniest": ("height", 20, "400 x 20 pixels"),
}


@pytest.fixture(scope="module")
def features(artifacts):
    """Images of which all facts are known, and vary a little."""
    loaded = catsdogs.load_features(artifacts)
    facts, n = loaded.facts.copy(), len(loaded.ids)
    random = np.random.default_rng(0)
    for name, usual in (("brightness", 100), ("contrast", 50), ("sharpness", 800), ("bytes", 9000)):
        facts[name] = usual + random.random(n)
    facts["width"], facts["height"] = 400, 300
    return replace(loaded, facts=facts)


@pytest.mark.parametrize("kind", EXTREME)
def test_the_most_extreme_image_of_each_kind_is_found_with_its_value(features, kind):
    column, value, text = EXTREME[kind]
    facts = features.facts.copy()
    facts[column][40] = value
    rows = np.flatnonzero(features.readable)
    found = choose_unusual(replace(features, facts=facts), rows, 3)[kind]
    assert next(iter(found.items())) == (40, text)


def test_the_image_farthest_from_all_others_is_found(features):
    values = features.features.copy()
    values[40] = np.random.default_rng(1).gamma(0.1, 1, values.shape[1])
    rows = np.flatnonzero(features.readable)
    found = choose_unusual(replace(features, features=values), rows, 2)[FARTHEST]
    assert [next(iter(found)), len(found)] == [40, 2]
    assert 40 not in choose_unusual(replace(features, features=values), rows[rows != 40], 2)[FARTHEST]


def test_where_images_do_not_differ_none_is_unusual(features):
    found = choose_unusual(features, np.flatnonzero(features.readable), 3)
    assert found["most elongated"] == found["tiniest"] == {}
    assert len(found["darkest"]) == 3


def test_images_of_unknown_facts_are_in_no_gallery_of_facts(features):
    facts = np.full_like(features.facts, np.nan)
    found = choose_unusual(replace(features, facts=facts), np.flatnonzero(features.readable), 3)
    assert [kind for kind, images in found.items() if images] == [FARTHEST]
    assert describe_facts(facts[0]) == ""


def test_facts_are_described_with_those_that_are_known(features):
    facts = features.facts[1].copy()
    facts["brightness"], facts["contrast"], facts["sharpness"], facts["bytes"] = 101, 51, 801, 9001
    described = "400 x 300 pixels, 9,001 bytes, brightness 101, contrast 51"
    assert describe_facts(facts) == f"{described}, sharpness 801"
    facts["sharpness"] = np.nan
    assert describe_facts(facts) == described
