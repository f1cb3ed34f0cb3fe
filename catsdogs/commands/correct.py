"""Keep verdicts on the labels of training images, which `train` then applies."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..artifacts import Artifacts, ArtifactsFolder
from ..errors import CatsDogsError
from ..head.corrections import DROP, KEEP, Verdict, Verdicts, read_verdicts, to_label, write_verdicts
from ..locks import RESULTS
from ..paths import user_path
from ..result import Result
from ..storage import read_table

_log = logging.getLogger(__name__)

_HINT = "Give a CSV file with the columns id and label, where a label is the name of a class, keep or drop"


@dataclass(frozen=True)
class Correction(Result):
    """The result of `correct`; all numbers are of training images, by all verdicts that are now in force.

    Parameters
    ----------
    path : Path
        corrections.csv.
    relabelled, kept, dropped : int
        Images that get the label of the other class, whose label is confirmed, and that are not trained on.
    moved : int
        Images whose folder says something else than when they were judged, and than the verdict.
    unmatched : int
        Verdicts on images that are not in the training split now.
    new, replaced, undone : int
        Verdicts that this call added, changed and removed.
    """

    path: Path
    relabelled: int
    kept: int
    dropped: int
    moved: int
    unmatched: int
    new: int
    replaced: int
    undone: int


def correct(
    verdicts: str | Path | Mapping[str, str] | None = None,
    *,
    undo: Collection[str] = (),
    artifacts: ArtifactsFolder = "artifacts",
) -> Correction:
    """Keep verdicts on the labels of training images in corrections.csv; `train` applies them.

    A verdict belongs to the image's bytes: it holds for all identical images, and wherever the file lies. It holds
    until it is replaced or undone. The images themselves are not touched.

    Parameters
    ----------
    verdicts : str, Path or mapping of str to str, optional
        A CSV file with the columns "id" and "label", and optionally "digest" (BLAKE2b-128 of the bytes, in
        hexadecimal), or labels by id. A label is the name of a class, "keep" (the label of the folder is right) or
        "drop" (the image is neither, and is not trained on).
    undo : collection of str
        Ids of images whose verdicts are removed.
    artifacts : str or Path
        The artifacts folder, with training features.

    Returns
    -------
    Correction

    Raises
    ------
    CatsDogsError
        An id, a digest or a label is not known, or verdicts contradict each other. No verdict is then kept.
    """
    with Artifacts.open(artifacts, RESULTS) as opened:
        images, before = _TrainingImages(opened), read_verdicts(opened)
        undone = {
            digest for name in ([undo] if isinstance(undo, str) else undo) for digest in images.judged(name, before)
        }
        given = {} if verdicts is None else _resolve(verdicts, images)
        kept = {digest: verdict for digest, verdict in before.by_digest.items() if digest not in undone}
        after = Verdicts([*kept.values(), *given.values()])
        counts = after.apply(images.digests, images.labels, images.classes).counts()
        write_verdicts(opened, after)
        _log.info("%d corrections in %s", len(after.by_digest), opened.corrections)
        new = given.keys() - before.by_digest.keys()
        replaced = [digest for digest in given.keys() - new if before.by_digest[digest].label != given[digest].label]
        return Correction(
            path=opened.corrections, **counts, new=len(new), replaced=len(replaced), undone=len(undone - given.keys())
        )


class _TrainingImages:
    """The training images, without their features; one that could not be read has no digest, and cannot be judged.

    Parameters
    ----------
    artifacts : Artifacts
    """

    def __init__(self, artifacts: Artifacts) -> None:
        manifest = artifacts.cache.require_manifest()
        listed = artifacts.cache.list("train") if "train" in manifest.splits else artifacts.cache.load("train")
        known = listed.digests.any(axis=1)
        self.classes, self.path = manifest.classes, artifacts.root
        self.labels, self.digests = listed.labels[known], listed.digests[known]
        ids = listed.ids[known].tolist()
        self.label_of = dict(zip(ids, self.labels.tolist(), strict=True))
        self.digest_of = dict(zip(ids, (row.tobytes().hex() for row in self.digests), strict=True))
        self.id_of = {digest: name for name, digest in self.digest_of.items()}

    def judged(self, name: str, verdicts: Verdicts) -> set[str]:
        """Return the digests of an image's verdict: of the image with this id now, or when it was judged."""
        if (now := self.digest_of.get(name)) in verdicts.by_digest:
            return {now}
        found = {digest for digest, verdict in verdicts.by_digest.items() if verdict.id == name}
        if not found:
            raise CatsDogsError(f"there is no correction of {name!a}", f"Give ids from {self.path / 'corrections.csv'}")
        return found


def _resolve(verdicts: str | Path | Mapping[str, str], images: _TrainingImages) -> dict[str, Verdict]:
    """Return the given verdicts by digest."""
    if isinstance(verdicts, Mapping):
        rows, place = [{"id": str(name), "label": str(label)} for name, label in verdicts.items()], "the verdicts"
    else:
        rows, place = read_table(user_path(verdicts), ("id", "label"), _HINT), str(verdicts)
    resolved: dict[str, Verdict] = {}
    for row in rows:
        digest = _find_digest(row, images, place)
        name = images.id_of[digest] if images.digest_of.get(row["id"]) != digest else row["id"]
        was = images.classes[images.label_of[name]]
        label = to_label(row["label"], images.classes)
        if label is None and row["label"].lower() not in (KEEP, DROP):
            hint = f"Use {', '.join(images.classes)}, keep or drop"
            raise CatsDogsError(f"{row['label']!a} in {place} is not a label, for {row['id']}", hint)
        chosen = images.classes[label] if label is not None else was if row["label"].lower() == KEEP else DROP
        other = resolved.setdefault(digest, Verdict(id=name, digest=digest, label=chosen, was=was))
        if other.label != chosen:
            same = f"{name} twice" if other.id == name else f"{other.id} and {name}, which are identical,"
            message = f"{place} contradicts itself: it labels {same} both {other.label} and {chosen}"
            raise CatsDogsError(message, "Keep one of the lines")
    return resolved


def _find_digest(row: Mapping[str, str], images: _TrainingImages, place: str) -> str:
    """Return the digest of the image that a row is about: that in the row, as the image may have been renamed."""
    digest, known = (row.get("digest") or "").lower(), images.digest_of.get(row["id"])
    if digest and digest not in images.id_of:
        message = f"{row['id']!a} in {place} has the digest {digest!a}, which no training image in {images.path} has"
        raise CatsDogsError(message, "Give verdicts on these images, and not on those of another data set")
    if not digest and known is None:
        raise CatsDogsError(f"{row['id']!a} in {place} is not the id of a readable training image", _HINT)
    return digest or str(known)
