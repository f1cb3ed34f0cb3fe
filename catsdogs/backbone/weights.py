"""Choose the weights by what the user, the environment and the artifacts say.

Keras is not imported here before weights are loaded, so that a run that has nothing to compute need not wait for
TensorFlow.
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
from .resnet50 import RESNET50, build_resnet50, draw_kernels

WEIGHTS_VARIABLE = "CATSDOGS_WEIGHTS"

IMAGENET, _RANDOM = "imagenet", "random:"

_FORMS = "imagenet, random, random:SEED, FILE.h5, FILE.weights.h5 or FILE.keras"


@dataclass(frozen=True)
class Weights:
    """Weights that have been chosen, and are not loaded yet.

    Parameters
    ----------
    spec : str
        The `--weights` that names them again, from any folder: "imagenet", "random:SEED", or the absolute path of a
        file.
    """

    spec: str

    @property
    def name(self) -> str:
        """What people are shown: of a file its name without the folder."""
        return Path(self.spec).name

    @property
    def _seed(self) -> int | None:
        """That the kernels are drawn from; None where they are not drawn."""
        return int(self.spec.removeprefix(_RANDOM)) if self.spec.startswith(_RANDOM) else None

    def fingerprint(self) -> str:
        """Return what tells these weights from others without loading them.

        The MD5 that Keras publishes with its own, the seed that weights are drawn from, the SHA-256 of a file.

        Raises
        ------
        CatsDogsError
            Their file cannot be read.
        """
        if self.spec == IMAGENET:
            return f"md5:{IMAGENET_MD5}"
        if self._seed is not None:
            return self.spec
        try:
            with Path(self.spec).open("rb") as file:
                return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        except OSError as error:
            raise CatsDogsError(
                f"{self.spec} cannot be read ({error.strerror or error})", "Mend that, or give other --weights"
            ) from error

    def load(self, size: int, progress: Progress | None) -> tuple[Any, str]:
        """Return the Keras model of images of `size` pixels a side, and its configuration in one spelling.

        Raises
        ------
        CatsDogsError
            They cannot be had, or do not fit.
        """
        if self._seed is not None:
            model = build_resnet50()
            draw_kernels(model, self._seed)
            return model, RESNET50
        if self.spec.endswith(".keras"):
            return load_model_file(Path(self.spec), size)
        file = fetch_imagenet(progress=progress) if self.spec == IMAGENET else Path(self.spec)
        return load_weights_file(file), RESNET50


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
    if spec == IMAGENET:
        return Weights(IMAGENET)
    if spec == "random" or spec.startswith(_RANDOM):
        seed = spec.removeprefix("random").removeprefix(":") or "0"
        if not re.fullmatch("[0-9]{1,18}", seed):
            raise OptionError(
                f"{spec}{origin} has no whole number for a seed", "Give random or random:SEED, such as random:7"
            )
        return Weights(f"{_RANDOM}{int(seed)}")
    if not spec.endswith((".h5", ".keras")):
        raise OptionError(f"{spec}{origin} names no weights", f"Give --weights one of {_FORMS}")
    path = user_path(spec).absolute()
    if not os.path.isfile(path):  # noqa: PTH113 - Path's raises where the system does not say
        raise CatsDogsError(f"there is no weights file {spec}{origin}", f"Give --weights one of {_FORMS}")
    return Weights(str(path))


def _find_spec(option: str | None, source: Path | None) -> tuple[str, str]:
    """Return what names the weights, and where that is from if not from the option."""
    if option:
        return option, ""
    if spec := os.environ.get(WEIGHTS_VARIABLE):
        return spec, f" (from {WEIGHTS_VARIABLE})"
    noted = read_json(source, NOTE_HINT).get("weights") if source else None
    if not noted:
        return IMAGENET, ""
    if not isinstance(noted, str):
        raise CatsDogsError(f"{source} is damaged: weights must be text", NOTE_HINT)
    return noted, f" (from {source})"
