from dataclasses import replace

import numpy as np
import pytest

import catsdogs
from catsdogs.cache import Duplicates
from catsdogs.reporting.findings import Scored
from catsdogs.reporting.queue import LENGTH, build_queue


@pytest.fixture(scope="module")
def features(artifacts):
    return catsdogs.load_features(artifacts)


def queue_of(findings, features, judged=(), kind="kept"):
    return build_queue(replace(findings, corrections=dict.fromkeys(judged, kind)), features)


def scored(findings, **own):
    """Return findings in which all labels are sure but those of the given images, whose log-odds are given."""
    train = findings.train
    logits = np.where(train.labels == 1, 8.0, -8.0)
    for name, odds in own.items():
        at = train.ids.tolist().index(name.replace("_", "."))
        logits[at] = odds if train.labels[at] == 1 else -odds
    changed = Scored("train", train.ids, train.labels, logits)
    return replace(findings, train=changed, suspects=("cat.1",), duplicates=None)


def pair(findings, *ends, similarity=0.97):
    pairs = np.array([("train", *ends[0], "train", *ends[1], similarity)], findings.duplicates.pairs.dtype)
    return Duplicates(pairs, near=True)


def test_the_least_probable_labels_come_first_and_say_why(findings, features):
    queue = queue_of(scored(findings, cat_5=-3, dog_9=-6, cat_7=-1), features)
    assert [image.id for image in queue[:3]] == ["dog.9", "cat.5", "cat.7"]
    assert queue[0].why == ("predicted cat, out of fold",)
    assert (queue[0].label, queue[0].probability) == ("dog", pytest.approx(1 / (1 + np.exp(6))))
    row = features.ids.tolist().index("dog.9")
    assert bytes.fromhex(queue[0].digest) == features.digests[row].tobytes()


def test_of_contradicting_duplicates_the_less_probable_label_comes_before_bare_misclassification(findings, features):
    mistaken = scored(findings, cat_5=0.4, dog_9=1.2, cat_7=-2)
    contradicting = replace(mistaken, duplicates=pair(findings, ("cat.5", 0), ("dog.9", 1)))
    queue = queue_of(contradicting, features)
    assert [image.id for image in queue[:2]] == ["cat.5", "cat.7"]
    assert "a near-duplicate of dog.9, which is labelled dog" in queue[0].why
    # After the first has been judged, the label of the other is the one to look at.
    assert queue_of(contradicting, features, ["cat.5"])[0].id == "dog.9"
    assert "cat.5" not in {image.id for image in queue_of(contradicting, features, ["cat.5", "dog.9"])}
    dropped = queue_of(contradicting, features, ["dog.9"], "dropped")
    assert "dog.9" not in str([image.why for image in dropped])
    same = replace(mistaken, duplicates=pair(findings, ("cat.5", 0), ("cat.6", 0)))
    assert queue_of(same, features)[0].id == "cat.7"


def test_identical_images_with_different_labels_are_asked(findings, features):
    asked = {image.id: image.why for image in queue_of(findings, features)}
    reasons = [why for name in ("cat.4", "dog.4") for why in asked.get(name, ()) if "identical" in why]
    assert set(reasons) <= {"identical to dog.4, which is labelled dog", "identical to cat.4, which is labelled cat"}
    assert reasons


def test_uncertain_and_unusual_images_have_places_even_after_many_errors(findings, features):
    train = findings.train
    wrong = Scored("train", train.ids, train.labels, np.where(train.labels == 1, -1.0, 1.0))
    queue = queue_of(replace(findings, train=wrong), features)
    assert len(queue) == len({image.id for image in queue}) == LENGTH
    assert all("predicted" in image.why[0] for image in queue)
    assert any(any(why.startswith("darkest: brightness") for why in image.why) for image in queue)


def test_sure_and_usual_images_are_not_asked(findings, features):
    queue = queue_of(scored(findings, cat_5=0.5), features)
    assert queue[0].id == "cat.5"
    assert queue[0].why[0] == "uncertain"
    assert len(queue) < 40
    assert all(":" in image.why[0] for image in queue[1:])


def test_judged_images_are_not_asked_again(findings, features):
    queue = queue_of(findings, features)
    judged = [image.id for image in queue[:10]]
    assert not {*judged} & {image.id for image in queue_of(findings, features, judged)}
    assert queue_of(findings, features, features.ids) == ()


def test_the_neighbours_are_other_training_images_in_order(findings, features):
    for image in queue_of(findings, features)[:20]:
        similarities = [near.similarity for near in image.neighbours]
        assert len(similarities) == 5
        assert similarities == sorted(similarities, reverse=True)
        assert image.id not in {near.id for near in image.neighbours}
        assert all(near.id.startswith(near.label) for near in image.neighbours)
