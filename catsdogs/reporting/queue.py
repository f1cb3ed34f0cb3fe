"""Select the training images that are most worth a look, each with the reasons."""

from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
from numpy.typing import NDArray

from ..backbone import N_FEATURES
from ..cache import NEIGHBOURS, Features, find_nearest
from ..result import Result
from .findings import Findings, rows_in
from .unusual import choose_unusual

LENGTH = 100
"""Number of images in the queue."""

_OTHERS = 25
"""How many of these are uncertain or unusual, at least."""

_SURE = 0.9
"""An image is uncertain if the probability of its label is below this, but not below 0.5."""

_OF_A_KIND = 5
"""Number of unusual images of each kind."""


@dataclass(frozen=True)
class Neighbour(Result):
    """A training image near to a queued one.

    Parameters
    ----------
    id : str
    label : str or None
        Name of its class; None if it has no label.
    similarity : float
        Cosine of the features.
    """

    id: str
    label: str | None
    similarity: float


@dataclass(frozen=True)
class QueuedImage(Result):
    """A training image that is worth a look.

    Parameters
    ----------
    id : str
    digest : str
        BLAKE2b-128 of the image's bytes, 32 hexadecimal digits.
    label : str
        Name of its class.
    probability : float
        Of the second class (dog), out of fold, unclipped.
    why : tuple of str
        Why it is worth a look.
    neighbours : tuple of Neighbour
        The nearest training images, the nearest first.
    """

    id: str
    digest: str
    label: str
    probability: float
    why: tuple[str, ...]
    neighbours: tuple[Neighbour, ...]


def build_queue(findings: Findings, features: Features) -> tuple[QueuedImage, ...]:
    """Select the images most worth a look, in descending order of what a look is expected to change.

    Images that were judged are not asked again. First come the misclassified images and the contradicting duplicates,
    by the probability that the label is wrong; then, in turn, the images with a probability nearest to 0.5 and the most
    unusual ones, which have a quarter of the places.

    By Bayes' rule, the odds that a label is wrong are r (1 - p) / ((1 - r) p), where p is the out-of-fold probability
    of the label and r the rate of wrong labels, for which the fraction of suspects is taken. Of two duplicates with
    different labels, one label is certainly wrong: for the less probable of both, the odds are (1 - p) / p.

    Parameters
    ----------
    findings : Findings
    features : Features
        The training features.

    Returns
    -------
    tuple of QueuedImage
        At most `LENGTH`.
    """
    train, classes = findings.train, findings.classes
    rows = rows_in(features, train)
    open_ = ~np.isin(train.ids, [*findings.corrections])
    wrong = _misclassified(findings, open_)
    contradictory, opposed = _contradictions(findings, open_)
    uncertain, unusual = _uncertain(findings, open_), _unusual(features, rows, open_)
    doubtful = _by_odds(findings, [*wrong, *opposed], opposed)
    others = [at for pair in zip_longest(uncertain, unusual) for at in pair if at is not None]
    most = LENGTH - min(_OTHERS, len({*others} - {*doubtful}))
    queue = np.array([*dict.fromkeys(chain(doubtful[:most], others, doubtful[most:]))][:LENGTH], np.intp)
    own, view = rows[queue], features.features[:, :N_FEATURES]
    nearest, similarities = find_nearest(view, view[own], NEIGHBOURS, own=own)
    labels, names = features.labels.copy(), (*classes, None)  # the last one is that of the label -1
    labels[rows] = train.labels  # the corrected ones

    def neighbour(row: int, similarity: float) -> Neighbour:
        return Neighbour(str(features.ids[row]), names[labels[row]], similarity)

    reasons = (wrong, contradictory, uncertain, unusual)
    return tuple(
        QueuedImage(
            id=str(train.ids[at]),
            digest=features.digests[row].tobytes().hex(),
            label=classes[train.labels[at]],
            probability=float(train.probabilities[at]),
            why=tuple(kind[at] for kind in reasons if at in kind),
            neighbours=tuple(map(neighbour, near, similarity)),
        )
        for at, row, near, similarity in zip(queue.tolist(), own, nearest.tolist(), similarities.tolist(), strict=True)
    )


Reasons = dict[int, str]
"""By position in `findings.train`, why an image is worth a look."""


def _misclassified(findings: Findings, open_: NDArray[np.bool_]) -> Reasons:
    wrong = np.flatnonzero(open_ & (findings.train.own_logits < 0)).tolist()
    return {at: f"predicted {findings.classes[1 - findings.train.labels[at]]}, out of fold" for at in wrong}


def _uncertain(findings: Findings, open_: NDArray[np.bool_]) -> Reasons:
    """Return the images whose probability is nearest to 0.5, in this order; the misclassified ones are another kind."""
    train = findings.train
    doubts = np.flatnonzero(open_ & (train.own_logits >= 0) & (train.own_logits < np.log(_SURE / (1 - _SURE))))
    nearest = doubts[np.argsort(train.own_logits[doubts], kind="stable")]
    return dict.fromkeys(nearest.tolist()[:LENGTH], "uncertain")


def _by_odds(findings: Findings, doubtful: list[int], opposed: list[int]) -> list[int]:
    """Return positions in descending order of the odds that the label is wrong."""
    train = findings.train
    rate = max(1, len(findings.suspects)) / (len(train.ids) + 1)
    log_odds = np.log(rate / (1 - rate)) - train.own_logits
    log_odds[opposed] = -train.own_logits[opposed]
    return sorted({*doubtful}, key=lambda at: (-log_odds[at], at))


def _contradictions(findings: Findings, open_: NDArray[np.bool_]) -> tuple[Reasons, list[int]]:
    """Return the duplicates with different labels, and of each pair the image whose label is less probable."""
    train, reasons, less = findings.train, dict[int, str](), []
    position = {name: at for at, name in enumerate(train.ids.tolist())}
    pairs = [] if findings.duplicates is None else findings.duplicates.pairs.tolist()
    for split, name, _, other_split, other_name, _, similarity in pairs:
        pair = [position[end] for end in (name, other_name) if end in position]
        contradict = (split, other_split) == ("train", "train") and len({*train.labels[pair].tolist()}) == 2
        if not contradict or "dropped" in (findings.corrections.get(name), findings.corrections.get(other_name)):
            continue
        kind = "identical to" if similarity == 1 else "a near-duplicate of"
        for at, other in (pair, pair[::-1]):
            reasons[at] = f"{kind} {train.ids[other]}, which is labelled {findings.classes[train.labels[other]]}"
        less += sorted([at for at in pair if open_[at]], key=lambda at: train.own_logits[at])[:1]
    return reasons, less


def _unusual(features: Features, rows: NDArray[np.intp], open_: NDArray[np.bool_]) -> Reasons:
    """Return unusual images with the reasons: the first of each kind, then the second of each, and so on."""
    position, reasons = {row: at for at, row in enumerate(rows.tolist())}, dict[int, str]()
    kinds = choose_unusual(features, rows[open_], _OF_A_KIND)
    named = [[(position[row], f"{kind}: {text}") for row, text in of_kind.items()] for kind, of_kind in kinds.items()]
    for at, reason in filter(None, chain(*zip_longest(*named))):
        reasons[at] = f"{reasons[at]}, {reason}" if at in reasons else reason
    return reasons
