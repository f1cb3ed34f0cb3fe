"""Keep verdicts on labels in corrections.csv, and apply them to the training images.

A verdict belongs to the bytes of an image, like its features: it holds wherever a file with these bytes lies. The label
of the folder is noted beside it, so that a later change in the folders can be seen.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..artifacts import Artifacts
from ..errors import CatsDogsError
from ..sources.classes import Classes
from ..sources.names import class_key
from ..storage import read_table, sha256_of, to_cell, to_csv, write_if_changed
from .files import damaged_files, load
from .logits import log_losses
from .metadata import HeadMetadata
from .metrics import mean_interval
from .results import CorrectionMetrics

DROP, KEEP = "drop", "keep"
"""Verdicts other than the name of a class: do not train on the image, and the label of the folder is right. A class of
the same name takes precedence."""

_HEADER = ("id", "digest", "label", "was")


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The verdict on one image.

    Parameters
    ----------
    id : str
        Of the image when it was judged; for people, as the digest identifies it.
    digest : str
        BLAKE2b-128 of the image's bytes, in hexadecimal.
    label : str
        Name of a class, or "drop".
    was : str
        Name of the class of its folder when it was judged.
    """

    id: str
    digest: str
    label: str
    was: str


@dataclass(frozen=True, eq=False)
class CorrectedLabels:
    """The labels of the training images with all verdicts applied.

    Parameters
    ----------
    labels : ndarray of shape (n,), int8
        The corrected labels.
    judged : ndarray of shape (n,), bool
        Whether there is a verdict on an image.
    relabelled, dropped : ndarray of shape (n,), bool
        Whether the verdict changes the label, or drops the image.
    moved : ndarray of shape (n,), bool
        Whether the folder's label is neither that of the verdict nor the one at the time of the verdict.
    unmatched : int
        Verdicts on images that are not among these.
    """

    labels: NDArray[np.int8]
    judged: NDArray[np.bool_]
    relabelled: NDArray[np.bool_]
    dropped: NDArray[np.bool_]
    moved: NDArray[np.bool_]
    unmatched: int

    @property
    def changed(self) -> NDArray[np.bool_]:
        """Whether a verdict changes the label or drops the image, of shape (n,)."""
        return self.relabelled | self.dropped

    @property
    def kinds(self) -> NDArray[np.str_]:
        """What the verdict on each image does: "relabelled", "dropped" or "kept"; "" without a verdict."""
        return np.select([self.dropped, self.relabelled, self.judged], ["dropped", "relabelled", "kept"], "")

    def counts(self) -> dict[str, int]:
        """Return the numbers of images by kind, and of verdicts that the folders contradict or that match no image."""
        kinds, moved = self.kinds, int(self.moved.sum())
        by_kind = {kind: int(np.sum(kinds == kind)) for kind in ("relabelled", "kept", "dropped")}
        return {**by_kind, "moved": moved, "unmatched": self.unmatched}


class Verdicts:
    """All verdicts of an artifacts folder.

    Parameters
    ----------
    verdicts : iterable of Verdict
        A later one replaces an earlier one on the same bytes.
    """

    def __init__(self, verdicts: Iterable[Verdict] = ()) -> None:
        self.by_digest: dict[str, Verdict] = {verdict.digest: verdict for verdict in verdicts}

    @cached_property
    def sha256(self) -> str:
        """Identity of what is applied to the labels; empty if there are no verdicts."""
        applied = sorted((verdict.digest, verdict.label) for verdict in self.by_digest.values())
        return sha256_of(repr(applied).encode()) if applied else ""

    def apply(self, digests: NDArray[np.uint8], labels: NDArray[np.int8], classes: Classes) -> CorrectedLabels:
        """Apply the verdicts to the labels of images.

        Parameters
        ----------
        digests : ndarray of shape (n, 16), uint8
        labels : ndarray of shape (n,), int8
            Labels of the folders, 0 or 1.
        classes : pair of str

        Raises
        ------
        CatsDogsError
            A verdict names a class that is neither of `classes`.
        """
        labels, dropped, moved = labels.copy(), np.zeros(len(labels), bool), np.zeros(len(labels), bool)
        judged, given = np.zeros(len(labels), bool), labels.copy()
        matched, unknown = set[str](), list[Verdict]()
        for row, digest in enumerate(map(bytes.hex, map(bytes, digests))) if self.by_digest else ():
            if verdict := self.by_digest.get(digest):
                matched.add(digest)
                judged[row] = True
                label, was = (to_label(name, classes) for name in (verdict.label, verdict.was))
                if label is None and verdict.label.lower() != DROP:
                    unknown.append(verdict)
                dropped[row] = label is None
                labels[row] = given[row] if label is None else label
                moved[row] = given[row] not in (label, was)
        if unknown:
            raise CatsDogsError(
                f"{len(unknown):,} labels in corrections.csv are neither {' nor '.join(classes)} nor {DROP}, such as "
                f"{unknown[0].label!a} of {unknown[0].id}",
                "Replace them in that file, with a text editor, or use the same names of the classes as before",
            )
        unmatched = len(self.by_digest.keys() - matched)
        return CorrectedLabels(labels, judged, (labels != given) & ~dropped, dropped, moved, unmatched)


def to_label(name: str, classes: Classes) -> int | None:
    """Return the position of the class of this name, or None."""
    key, keys = class_key(to_cell(name)), [class_key(to_cell(of)) for of in classes]
    return keys.index(key) if key in keys else None


def read_verdicts(artifacts: Artifacts) -> Verdicts:
    """Read corrections.csv; there are no verdicts without it.

    Raises
    ------
    CatsDogsError
        The file cannot be read, or is not as `write_verdicts` writes it.
    """
    path = artifacts.corrections
    if not path.exists():
        return Verdicts()
    hint = "Fix or remove it; catsdogs correct writes it with the columns id, digest, label and was"
    verdicts: dict[str, Verdict] = {}
    for number, row in enumerate(read_table(path, _HEADER, hint), 2):
        verdict = Verdict(**{name: row[name] for name in _HEADER})
        if len(verdict.digest) != 32 or set(verdict.digest) - set("0123456789abcdef"):
            raise CatsDogsError(f"{path} is damaged: row {number} has no valid digest", hint)
        if verdicts.setdefault(verdict.digest, verdict) != verdict:
            raise CatsDogsError(f"{path} is damaged: row {number} has the digest of an earlier row", hint)
    return Verdicts(verdicts.values())


def write_verdicts(artifacts: Artifacts, verdicts: Verdicts) -> None:
    """Write corrections.csv in natural order of the ids, or remove it if there are no verdicts."""
    from natsort import natsort_keygen

    if not verdicts.by_digest:
        artifacts.corrections.unlink(missing_ok=True)
        return
    natural = natsort_keygen()
    rows = sorted(verdicts.by_digest.values(), key=lambda verdict: (natural(verdict.id), verdict.digest))
    content = to_csv(_HEADER, ((verdict.id, verdict.digest, verdict.label, verdict.was) for verdict in rows))
    write_if_changed(artifacts.corrections, content)


def read_uncorrected_logits(artifacts: Artifacts, metadata: HeadMetadata) -> NDArray[np.float64] | None:
    """Return the out-of-fold logits without corrections that the last training left in predictions.csv.

    Parameters
    ----------
    artifacts : Artifacts
    metadata : HeadMetadata
        Of the head that is being trained.

    Returns
    -------
    logits : ndarray of shape (n,), float64, or None
        None if the last training was on other features, images or folds, but for corrections.
    """
    try:
        trained = load(artifacts)
    except CatsDogsError:
        return None
    made, wanted = (
        (of.method, of.features.get("train"), of.excluded, of.near_duplicates) for of in (trained.metadata, metadata)
    )
    if made != wanted or artifacts.predictions.name in damaged_files(artifacts, trained):
        return None
    column = "uncorrected_logit" if trained.metadata.corrections else "logit"
    return np.array([row[column] for row in read_table(artifacts.predictions, (column,), "")], np.float64)


def measure_corrections(
    corrected: CorrectedLabels, before: NDArray[np.float64], after: NDArray[np.float64]
) -> CorrectionMetrics:
    """Compare the out-of-fold log loss without and with corrections, over the images that no correction changes.

    Parameters
    ----------
    corrected : CorrectedLabels
    before, after : ndarray of shape (n,), float64
        Out-of-fold logits without and with corrections, by the same folds.

    Returns
    -------
    CorrectionMetrics
    """
    kept = ~corrected.changed
    if not kept.any():
        return CorrectionMetrics(**corrected.counts(), compared=0, interval=None)
    losses = [log_losses(corrected.labels[kept], logits[kept]) for logits in (before, after)]
    difference = losses[1] - losses[0]
    return CorrectionMetrics(
        **corrected.counts(),
        compared=int(kept.sum()),
        log_loss_before=float(losses[0].mean()),
        log_loss_after=float(losses[1].mean()),
        difference=float(difference.mean()),
        interval=mean_interval(difference),
    )
