"""Choose the weights by what the user, the environment and the artifacts say.

Keras is not imported here before weights are loaded, so that a run that has nothing to compute need not wait for
TensorFlow.
"""

import hashlib
import os
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CatsDogsError
from ..paths import user_path
from ..progress import Progress
from ..storage import NOTE_HINT, read_json
from .files import load_model_file, load_weights_file
from .imagenet import IMAGENET_MD5, fetch_imagenet
from .resnet50 import RESNET50, build_resnet50, draw_kernels

WEIGHTS_VARIABLE = "CATSDOGS_WEIGHTS"

_FORMS = "imagenet, random, random:SEED, FILE.h5, FILE.weights.h5 or FILE.keras"


@dataclass(frozen=True)
class Weights(ABC):
    """Weights that have been chosen, and are not loaded yet: a class for each kind.

    Parameters
    ----------
    spec : str
        The `--weights` that names them again, from any folder.
    """

    spec: str

    @property
    def name(self) -> str:
        """What people are shown: of a file its name without the folder."""
        return Path(self.spec).name

    @abstractmethod
    def fingerprint(self) -> str:
        """Return what tells these weights from others without loading them.

        Raises
        ------
        CatsDogsError
            Their file cannot be read.
        """

    @abstractmethod
    def load(self, size: int, progress: Progress | None) -> tuple[Any, str]:
        """Return the Keras model of images of `size` pixels a side, and its configuration in one spelling.

        Raises
        ------
        CatsDogsError
            They cannot be had, or do not fit.
        """


@dataclass(frozen=True)
class ImageNetWeights(Weights):
    """The weights that Keras publishes for ResNet50."""

    spec: str = "imagenet"

    def fingerprint(self) -> str:
        """Return the MD5 that Keras publishes with them."""
        return f"md5:{IMAGENET_MD5}"

    def load(self, size: int, progress: Progress | None) -> tuple[Any, str]:
        """Download them where they are not in Keras' cache."""
        return load_weights_file(fetch_imagenet(progress=progress)), RESNET50


@dataclass(frozen=True)
class RandomWeights(Weights):
    """ResNet50 with kernels drawn from the seed in ``random:SEED``."""

    def fingerprint(self) -> str:
        """Return the seed: the weights follow from it."""
        return self.spec

    def load(self, size: int, progress: Progress | None) -> tuple[Any, str]:
        """Draw them."""
        model = build_resnet50()
        draw_kernels(model, int(self.spec.removeprefix("random:")))
        return model, RESNET50


@dataclass(frozen=True)
class WeightsFile(Weights):
    """A ``.h5`` or ``.weights.h5`` file of ResNet50's weights."""

    def fingerprint(self) -> str:
        """Return the SHA-256 of the file."""
        try:
            with Path(self.spec).open("rb") as file:
                return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        except OSError as error:
            raise CatsDogsError(
                f"{self.spec} cannot be read ({error.strerror or error})", "Mend that, or give other --weights"
            ) from error

    def load(self, size: int, progress: Progress | None) -> tuple[Any, str]:
        """Load its arrays into the architecture."""
        return load_weights_file(Path(self.spec)), RESNET50


@dataclass(frozen=True)
class ModelFile(WeightsFile):
    """A ``.keras`` file of a whole model."""

    def load(self, size: int, progress: Progress | None) -> tuple[Any, str]:
        """Load the model, in Keras' safe mode."""
        return load_model_file(Path(self.spec), size)


def choose_weights(option: str | None, source: Path | None = None) -> Weights:
    """Choose by option, then by the variable CATSDOGS_WEIGHTS, then by what artifacts note, then ImageNet's.

    Parameters
    ----------
    option : str or None
        What `--weights` says.
    source : Path, optional
        source.json of the artifacts.

    Raises
    ------
    CatsDogsError
        It is none of the four forms, or there is no such file.
    """
    spec, origin = _find_spec(option, source)
    if spec == "imagenet":
        return ImageNetWeights()
    if spec == "random" or spec.startswith("random:"):
        seed = spec.removeprefix("random").removeprefix(":") or "0"
        if not re.fullmatch("[0-9]{1,18}", seed):
            raise CatsDogsError(
                f"{spec}{origin} has no whole number for a seed", "Give random or random:SEED, such as random:7"
            )
        return RandomWeights(f"random:{int(seed)}")
    if not spec.endswith((".h5", ".keras")):
        raise CatsDogsError(f"{spec}{origin} names no weights", f"Give --weights one of {_FORMS}")
    path = user_path(spec).absolute()
    try:
        found = path.is_file()
    except OSError as error:
        raise CatsDogsError(f"{spec}{origin} cannot be reached ({error})", f"Give --weights one of {_FORMS}") from error
    if not found:
        raise CatsDogsError(f"there is no weights file {spec}{origin}", f"Give --weights one of {_FORMS}")
    return (ModelFile if spec.endswith(".keras") else WeightsFile)(str(path))


def _find_spec(option: str | None, source: Path | None) -> tuple[str, str]:
    """Return what names the weights, and where that is from if not from the option."""
    if option:
        return option, ""
    if spec := os.environ.get(WEIGHTS_VARIABLE):
        return spec, f" (from {WEIGHTS_VARIABLE})"
    noted = read_json(source, NOTE_HINT).get("weights") if source else None
    if not noted:
        return "imagenet", ""
    if not isinstance(noted, str):
        raise CatsDogsError(f"{source} is damaged: weights must be text", NOTE_HINT)
    return noted, f" (from {source})"
