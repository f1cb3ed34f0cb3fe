"""Choose the weights by what the user, the environment and the artifacts say.

Keras is not imported here, so that a run that has nothing to compute need not wait for TensorFlow.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import CatsDogsError
from ..storage import NOTE_HINT, read_json
from .imagenet import IMAGENET_MD5

WEIGHTS_VARIABLE = "CATSDOGS_WEIGHTS"

_FORMS = "imagenet, random, random:SEED, FILE.h5, FILE.weights.h5 or FILE.keras"


@dataclass(frozen=True)
class Weights:
    """Weights as a user names them.

    Parameters
    ----------
    name : str
        "imagenet", "random:SEED", or the name of a file without its folder.
    path : Path or None
        The file, where one was named.
    seed : int or None
        For random weights.
    """

    name: str
    path: Path | None = None
    seed: int | None = None

    @property
    def spec(self) -> str:
        """The `--weights` that names them again, from any folder."""
        return self.name if self.path is None else str(self.path.resolve())

    def fingerprint(self) -> str:
        """Return what identifies the weights without loading them: a digest of their file, or the seed.

        Raises
        ------
        CatsDogsError
            The file cannot be read.
        """
        if self.path is not None:
            try:
                with self.path.open("rb") as file:
                    return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
            except OSError as error:
                raise CatsDogsError(
                    f"{self.path} cannot be read ({error.strerror or error})", "Mend that, or give other --weights"
                ) from error
        return f"md5:{IMAGENET_MD5}" if self.seed is None else self.name


def choose_weights(option: str | None, source: Path | None = None) -> Weights:
    """Choose by option, then by the variable CATSDOGS_WEIGHTS, then by what the artifacts say, then ImageNet's.

    Raises
    ------
    CatsDogsError
        It is none of the four forms, or there is no such file.
    """
    spec, origin = _find_spec(option, source)
    if spec == "imagenet":
        return Weights("imagenet")
    if spec == "random" or spec.startswith("random:"):
        seed = spec.removeprefix("random").removeprefix(":") or "0"
        if not re.fullmatch("[0-9]{1,18}", seed):
            raise CatsDogsError(
                f"{spec}{origin} has no whole number for a seed", "Give random or random:SEED, such as random:7"
            )
        return Weights(f"random:{int(seed)}", seed=int(seed))
    if not spec.endswith((".h5", ".keras")):
        raise CatsDogsError(f"{spec}{origin} names no weights", f"Give --weights one of {_FORMS}")
    try:
        path = Path(spec).expanduser()
        found = path.is_file()
    except (OSError, RuntimeError) as error:
        raise CatsDogsError(f"{spec}{origin} cannot be reached ({error})", f"Give --weights one of {_FORMS}") from error
    if not found:
        raise CatsDogsError(f"there is no weights file {spec}{origin}", f"Give --weights one of {_FORMS}")
    return Weights(path.name, path=path)


def _find_spec(option: str | None, source: Path | None) -> tuple[str, str]:
    """Return what names the weights, and where that is from if not from the option."""
    if option:
        return option, ""
    if spec := os.environ.get(WEIGHTS_VARIABLE):
        return spec, f" (from {WEIGHTS_VARIABLE})"
    noted = read_json(source, NOTE_HINT).get("weights") if source else None
    if source is None or not noted:
        return "imagenet", ""
    if not isinstance(noted, str):
        raise CatsDogsError(f"{source} is damaged: weights must be text", NOTE_HINT)
    return noted, f" (from {source})"
