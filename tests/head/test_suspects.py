import numpy as np
from scipy.special import logit

from catsdogs.head.suspects import find_suspects


def test_images_with_a_wrong_label_are_found_most_confident_first():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 1000, np.int8)
    probabilities = np.where(truth == 1, generator.uniform(0.9, 1, 1000), generator.uniform(0, 0.1, 1000))
    labels = truth.copy()
    wrong = generator.choice(1000, 20, replace=False)
    labels[wrong] = 1 - labels[wrong]
    found = find_suspects(labels, logit(probabilities))
    own = np.where(labels == 1, probabilities, 1 - probabilities)[found]
    assert set(found) <= set(wrong)
    assert len(found) > 5
    assert (np.diff(own) >= 0).all()


def test_without_wrong_labels_there_are_no_suspects():
    labels = np.array([0, 1] * 50, np.int8)
    assert len(find_suspects(labels, np.where(labels == 1, 1.0, -1.0))) == 0
