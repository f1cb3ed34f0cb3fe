"""What a user says of the weights comes in; out goes which weights they are and where their file lies.

Keras is not imported here, so that a run that has nothing to compute need not wait for TensorFlow.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..artifacts import Artifacts
from ..errors import CatsDogsError
from ..storage import NOTE, read_json
from .imagenet import IMAGENET_MD5

VARIABLE = "CATSDOGS_WEIGHTS"

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
    def given(self) -> str:
        """How to ask for them again, from any folder."""
        return self.name if self.path is None else str(self.path.resolve())

    def fingerprint(self) -> str:
        """Return what tells the same weights without loading them.

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


def choose_weights(given: str | None, artifacts: Artifacts | None = None) -> Weights:
    """Choose by option, then by the variable CATSDOGS_WEIGHTS, then by what the artifacts say, then ImageNet's.

    Raises
    ------
    CatsDogsError
        It is none of the four forms, or there is no such file.
    """
    text, said_by = _asked_for(given, artifacts)
    if text == "imagenet":
        return Weights("imagenet")
    if text == "random" or text.startswith("random:"):
        seed = text.removeprefix("random").removeprefix(":") or "0"
        if not re.fullmatch("[0-9]{1,18}", seed):
            raise CatsDogsError(
                f"{text}{said_by} has no whole number for a seed", "Give random or random:SEED, such as random:7"
            )
        return Weights(f"random:{int(seed)}", seed=int(seed))
    if not text.endswith((".h5", ".keras")):
        raise CatsDogsError(f"{text}{said_by} names no weights", f"Give --weights one of {_FORMS}")
    try:
        path = Path(text).expanduser()
        found = path.is_file()
    except (OSError, RuntimeError) as error:
        raise CatsDogsError(
            f"{text}{said_by} cannot be reached ({error})", f"Give --weights one of {_FORMS}"
        ) from error
    if not found:
        raise CatsDogsError(f"there is no weights file {text}{said_by}", f"Give --weights one of {_FORMS}")
    return Weights(path.name, path=path)


def _asked_for(given: str | None, artifacts: Artifacts | None) -> tuple[str, str]:
    """Return which weights, and where that was said if not in an option."""
    if given:
        return given, ""
    if text := os.environ.get(VARIABLE):
        return text, f" (from {VARIABLE})"
    noted = read_json(artifacts.source, NOTE).get("weights") if artifacts else None
    if artifacts is None or not noted:
        return "imagenet", ""
    if not isinstance(noted, str):
        raise CatsDogsError(f"{artifacts.source} is damaged: weights must be text", NOTE)
    return noted, f" (from {artifacts.source})"
