"""Select the weights by option, environment variable and artifacts.

Keras is imported only when weights are loaded, so a run that has nothing to compute does not wait for TensorFlow.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CatsDogsError, OptionError
from ..paths import user_path
from ..progress import Progress
from ..storage import NOTE_HINT, read_json
from .files import load_model_file, load_weights_file
from .imagenet import IMAGENET_MD5, fetch_imagenet
from .resnet50 import RESNET50, build_resnet50, initialise_kernels

WEIGHTS_VARIABLE = "CATSDOGS_WEIGHTS"

IMAGENET, _RANDOM = "imagenet", "random:"

_FORMS = "imagenet, random, random:SEED, FILE.h5, FILE.weights.h5 or FILE.keras"


@dataclass(frozen=True)
class Weights:
    """Weights that are selected, but not loaded yet.

    Parameters
    ----------
    spec : str
        Value of `--weights` that selects them from any folder: "imagenet", "random:SEED" (untrained, for testing and
        timing), or the absolute path of a file.
    """

    spec: str

    @property
    def name(self) -> str:
        """Name for messages and reports: `spec`, but only the file name of a path."""
        return Path(self.spec).name

    @property
    def _seed(self) -> int | None:
        """Seed of random weights; None for other weights."""
        return int(self.spec.removeprefix(_RANDOM)) if self.spec.startswith(_RANDOM) else None

    def fingerprint(self) -> str:
        """Return text that identifies these weights, without loading them.

        It is the MD5 that Keras publishes for "imagenet", the seed of random weights, or the SHA-256 of a file.

        Raises
        ------
        CatsDogsError
            The file cannot be read.
        """
        if self.spec == IMAGENET:
            return f"md5:{IMAGENET_MD5}"
        if self._seed is not None:
            return self.spec
        try:
            with Path(self.spec).open("rb") as file:
                return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        except OSError as error:
            message = f"{self.spec} cannot be read ({error.strerror or error})"
            raise CatsDogsError(message, "Fix this, or use other --weights") from error

    def load(self, size: int, progress: Progress | None) -> tuple[Any, str]:
        """Return the Keras model for images of `size` x `size` pixels, and its normalised configuration.

        Raises
        ------
        CatsDogsError
            The weights are not available, or do not fit.
        """
        if self._seed is not None:
            model = build_resnet50()
            initialise_kernels(model, self._seed)
            return model, RESNET50
        if self.spec.endswith(".keras"):
            return load_model_file(Path(self.spec), size)
        file = fetch_imagenet(progress=progress) if self.spec == IMAGENET else Path(self.spec)
        return load_weights_file(file), RESNET50


def choose_weights(option: str | Path | None, source: Path | None = None) -> Weights:
    """Select weights by the option, the variable CATSDOGS_WEIGHTS or source.json, in this order; by default ImageNet's.

    Parameters
    ----------
    option : str, Path or None
        Value of `--weights`.
    source : Path, optional
        source.json of the artifacts.

    Raises
    ------
    CatsDogsError
        The value has none of the valid forms, or the file does not exist.
    """
    spec, origin = _find_spec(None if option is None else str(option), source)
    error = OptionError if option else CatsDogsError
    if spec == IMAGENET:
        return Weights(IMAGENET)
    if spec == "random" or spec.startswith(_RANDOM):
        seed = spec.removeprefix("random").removeprefix(":") or "0"
        if not re.fullmatch("[0-9]{1,18}", seed):
            message = f"the seed of {spec}{origin} is not a whole number"
            raise error(message, "Use random or random:SEED, such as random:7")
        return Weights(f"{_RANDOM}{int(seed)}")
    if not spec.endswith((".h5", ".keras")):
        raise error(f"{spec}{origin} does not name any weights", f"Set --weights to {_FORMS}")
    path = user_path(spec).absolute()
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises if the name is too long
        wanted = f"where {path.name} is now" if origin else _FORMS
        raise CatsDogsError(f"there is no weights file {spec}{origin}", f"Set --weights to {wanted}")
    return Weights(str(path))


def _find_spec(option: str | None, source: Path | None) -> tuple[str, str]:
    """Return the text that selects the weights, and its origin for messages, which is empty for the option."""
    if option:
        return option, ""
    if spec := os.environ.get(WEIGHTS_VARIABLE):
        return spec, f" (from {WEIGHTS_VARIABLE})"
    noted = read_json(source, NOTE_HINT).get("weights") if source else None
    if not noted:
        return IMAGENET, ""
    if not isinstance(noted, str):
        raise CatsDogsError(f"{source} is damaged: weights must be a string", NOTE_HINT)
    return noted, f" (from {source})"
