"""Write a fitted head to the artifacts folder, and read and check it."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ..artifacts import Artifacts
from ..backbone import N_FEATURES
from ..cache import Provenance
from ..errors import CatsDogsError
from ..locks import RESULTS, require_unlocked
from ..storage import read_json, read_or_none, read_sealed, sha256_of, to_sealed_json, write_atomic
from .designs import IDENTITY, RBF, SQRT, Classifier, Kernel
from .metadata import FORMAT, HeadMetadata

if TYPE_CHECKING:  # loading a head must not wait for what fits it
    from .fitting import FittedHead

TRAIN_HINT = "Run catsdogs train to train the head again"


@dataclass(frozen=True, eq=False)
class Head:
    """A head as loaded from the artifacts.

    It is pickled as the bytes of its file, which are checked where it is unpickled, too.

    Parameters
    ----------
    content : bytes
        The content of head.npz.
    metadata : HeadMetadata
        Describes how the head was trained.

    Attributes
    ----------
    classifier : Classifier
        Computes probabilities.
    sha256 : str
        Of the content.

    Raises
    ------
    BadZipFile, EOFError, KeyError, TypeError, ValueError
        The content is not what the metadata states, or damaged.
    """

    content: bytes = field(repr=False)
    metadata: HeadMetadata
    classifier: Classifier = field(init=False)
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha256", sha256_of(self.content))
        if self.sha256 != self.metadata.files.get("head.npz"):
            raise ValueError("it does not match head.json")
        object.__setattr__(self, "classifier", _to_classifier(self.content))

    def __reduce__(self) -> tuple[type["Head"], tuple[bytes, HeadMetadata]]:
        return Head, (self.content, self.metadata)


def save(
    artifacts: Artifacts, fitted: "FittedHead", metadata: HeadMetadata, *, extra_files: Mapping[Path, bytes]
) -> None:
    """Write head.npz, head.joblib and the extra files, then head.json with the SHA-256 of each."""
    import joblib

    arrays, pickled, kernel = io.BytesIO(), io.BytesIO(), fitted.classifier.kernel
    members = {name: getattr(fitted.classifier, name) for name in ("transform", "coefficients", "intercept")}
    if kernel:
        members |= {"landmarks": kernel.landmarks, "gamma": kernel.gamma}
    np.savez(arrays, **members)
    joblib.dump(fitted.estimator, pickled)
    files = {artifacts.head: arrays.getvalue(), artifacts.estimator: pickled.getvalue(), **extra_files}
    for path, content in files.items():
        write_atomic(path, content)
    sums = {path.name: sha256_of(content) for path, content in files.items()}
    write_atomic(artifacts.head_metadata, to_sealed_json(replace(metadata, files=sums).to_dict()))


def load(artifacts: Artifacts) -> Head:
    """Read the head from head.json and head.npz; the pickle head.joblib is for other programs.

    Raises
    ------
    CatsDogsError
        There is no head, or it is damaged.
    """
    path = artifacts.head_metadata
    if (metadata := read_sealed(path, HeadMetadata, FORMAT, TRAIN_HINT)) is None:
        artifacts.cache.require_manifest()  # without features, its error says how to get them
        raise CatsDogsError(f"there is no head in {artifacts.root}", "Run catsdogs train first")
    try:
        return Head(read_or_none(artifacts.head) or b"", metadata)
    except (BadZipFile, EOFError, KeyError, TypeError, ValueError) as error:
        require_unlocked(artifacts.root, RESULTS)
        if read_json(path, TRAIN_HINT).get("files") != metadata.files:
            return load(artifacts)  # another run has replaced the head since head.json was read
        raise CatsDogsError(f"{artifacts.head} is missing or damaged: {error}", TRAIN_HINT) from error


def _to_classifier(content: bytes) -> Classifier:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        kernel = Kernel(arrays["landmarks"], float(arrays["gamma"])) if "landmarks" in arrays else None
        classifier = Classifier(str(arrays["transform"]), arrays["coefficients"], float(arrays["intercept"]), kernel)
    n = len(kernel.landmarks) if kernel else N_FEATURES
    wanted: list[tuple[NDArray[Any], tuple[int, ...], str]] = [(classifier.coefficients, (n,), "float64")]
    if kernel:
        wanted.append((kernel.landmarks, (n, N_FEATURES), "float32"))
    fits = all(of.shape == shape and of.dtype == dtype and np.isfinite(of).all() for of, shape, dtype in wanted)
    if not fits or classifier.transform not in (IDENTITY, SQRT, RBF):
        raise ValueError("its content is not a valid head")
    return classifier


def damaged_files(artifacts: Artifacts, head: Head) -> list[str]:
    """Return the names of the files written with the head that are missing or have changed since."""
    # Only files in the artifacts folder are read, because head.json may be untrusted.
    there = {name: read_or_none(artifacts.root / Path(name).name) for name in head.metadata.files}
    return [name for name, content in there.items() if sha256_of(content or b"") != head.metadata.files[name]]


def check_compatible(head: Head, provenance: Provenance, views: Sequence[str], hint: str) -> None:
    """Refuse a head that was trained on features with another provenance or other views.

    Raises
    ------
    CatsDogsError
        Backbone, preprocessing, precision or views differ. `hint` is the hint of the error.
    """
    pairs = compare_features(head, provenance, views).items()
    if different := [name for name, (of_head, given) in pairs if of_head != given]:
        raise CatsDogsError(
            f"the head was trained on features of {head.metadata.provenance.weights_name}, "
            f"view {', '.join(head.metadata.views)}; these features of {provenance.weights_name}, "
            f"view {', '.join(views)} differ in {', '.join(different)}",
            hint,
        )


def compare_features(head: Head, provenance: Provenance, views: Sequence[str]) -> dict[str, tuple[object, object]]:
    """Return the properties of the features of a head and of given features, as pairs by name."""
    made = head.metadata.provenance
    return {
        "the backbone": (made.sha256, provenance.sha256),
        "the quantized network": (made.network, provenance.network),
        "the preprocessing of pixels": (made.pixels, provenance.pixels),
        "the precision": (made.precision, provenance.precision),
        "the views": (head.metadata.views, tuple(views)),
    }
