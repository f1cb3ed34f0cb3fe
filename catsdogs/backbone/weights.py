"""What a user says of the weights comes in; out goes which weights they are and where their file lies.

Keras is not imported here, so that a run that has nothing to compute need not wait for TensorFlow.
"""

import hashlib
import os
import re
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..artifacts import Artifacts
from ..errors import CatsDogsError
from ..progress import Progress
from ..storage import NOTE, read_json, sync_folder
from .download import download

IMAGENET_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_URL = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
IMAGENET_MD5 = "4d473c1dd8becc155b73f8504c6f6626"
"""File, address and MD5 as Keras publishes them (keras/src/applications/resnet.py)."""

STALE_SECONDS = 3600.0
"""Age from which on the part of a file that did not grow any more is one that a killed run has left."""

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


def imagenet_path() -> Path:
    """Return where Keras keeps its ImageNet file of ResNet50 without top (keras/src/backend/config.py)."""
    if named := os.environ.get("KERAS_HOME"):
        home = Path(named).expanduser()
    else:
        user = os.path.expanduser("~")  # noqa: PTH111 - where there is no home, pathlib raises and Keras goes on
        home = Path(user if os.access(user, os.W_OK) else "/tmp", ".keras")  # noqa: S108 - as Keras does
    return home / "models" / IMAGENET_FILE


def fetch_imagenet(base_url: str = IMAGENET_URL, *, timeout: float = 20.0, progress: Progress | None = None) -> Path:
    """Return the path of Keras' ImageNet weights, downloading them to Keras' own cache where they are not.

    Parameters
    ----------
    base_url : str
        What the file's name is appended to.
    timeout : float
        Seconds that the server may be silent.
    progress : callable, optional
        Told how many bytes are there.

    Raises
    ------
    CatsDogsError
        It could not be downloaded, or is not the file that Keras publishes. What was in its place is still there.
    """
    path, url = imagenet_path(), base_url.rstrip("/") + "/" + IMAGENET_FILE
    lacking = "the ImageNet weights are not here"
    try:
        if path.is_file():
            if _md5(path) == IMAGENET_MD5:
                return path
            lacking = f"{path} is not the file that Keras publishes"
        _put(url, path, timeout, progress)
    except OSError as error:
        raise CatsDogsError(
            f"{lacking}, and could not be downloaded from {url} ({error.strerror or error})",
            f"Put that file at {path}, or give --weights FILE; --weights random tries things out without them",
        ) from error
    return path


def _put(url: str, path: Path, timeout: float, progress: Progress | None) -> None:
    """Download to a name that no other process uses, check, and rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f"{path.name}.*.part"):
        with suppress(OSError):  # another process was faster, or it is another user's
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                left.unlink()
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            download(
                url, file, timeout=timeout, progress=progress and partial(progress, "downloading ImageNet weights")
            )
            file.flush()
            os.fsync(file.fileno())
        found = _md5(part)
        if found != IMAGENET_MD5:
            raise OSError(f"what came is not the file: its MD5 is {found}, not {IMAGENET_MD5}")
        part.replace(path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
