"""What a user says of the weights comes in; out goes which weights they are and where their file lies.

Keras is not imported here, so that a run that has nothing to compute need not wait for TensorFlow.
"""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from ..artifacts import NOTE, Artifacts, read_json, sync_folder
from ..errors import CatsDogsError
from ..progress import Progress

IMAGENET_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_URL = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
IMAGENET_MD5 = "4d473c1dd8becc155b73f8504c6f6626"
"""File, address and MD5 as Keras publishes them (keras/src/applications/resnet.py)."""

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
        """Return what tells the same weights without loading them."""
        if self.path is not None:
            with self.path.open("rb") as file:
                return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        return f"md5:{IMAGENET_MD5}" if self.seed is None else self.name


def choose_weights(given: str | None, artifacts: Artifacts | None = None) -> Weights:
    """Choose by option, then by the variable CATSDOGS_WEIGHTS, then by what the artifacts say, then ImageNet's.

    Raises
    ------
    CatsDogsError
        It is none of the four forms, or there is no such file.
    """
    noted = read_json(artifacts.source, NOTE) if artifacts else {}
    text = given or os.environ.get(VARIABLE) or noted.get("weights") or "imagenet"
    if text == "imagenet":
        return Weights("imagenet")
    if text == "random" or text.startswith("random:"):
        seed = text.removeprefix("random").removeprefix(":") or "0"
        if not seed.isdecimal():
            raise CatsDogsError(
                f"{text} has no whole number for a seed", "Give random or random:SEED, such as random:7"
            )
        return Weights(f"random:{int(seed)}", seed=int(seed))
    path = Path(text).expanduser()
    if path.suffix not in (".h5", ".keras"):
        raise CatsDogsError(f"{text} names no weights", f"Give --weights one of {_FORMS}")
    if not path.is_file():
        raise CatsDogsError(f"there is no weights file {text}", f"Give --weights one of {_FORMS}")
    return Weights(path.name, path=path)


def imagenet_path() -> Path:
    """Return where Keras keeps its ImageNet file of ResNet50 without top."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser() / "models" / IMAGENET_FILE


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
        It could not be downloaded, or is not the file that Keras publishes. Nothing is left in its place.
    """
    path = imagenet_path()
    if path.is_file() and _md5(path) == IMAGENET_MD5:
        return path
    url = base_url.rstrip("/") + "/" + IMAGENET_FILE
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(url, part, timeout, progress)
        found = _md5(part)
        if found != IMAGENET_MD5:
            raise OSError(f"what came is not the file: its MD5 is {found}, not {IMAGENET_MD5}")
        part.replace(path)
        sync_folder(path.parent)
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise CatsDogsError(
            f"the ImageNet weights could not be downloaded from {url} ({reason})",
            f"Put that file at {path}, or give --weights FILE; --weights random tries things out without them",
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return path


def _download(url: str, part: Path, timeout: float, progress: Progress | None) -> None:
    with urllib.request.urlopen(url, timeout=timeout) as answer, part.open("wb") as file:  # noqa: S310 - https by default
        total, done = int(answer.headers.get("Content-Length") or 0), 0
        while block := answer.read(1 << 18):
            file.write(block)
            done += len(block)
            if progress:
                progress("downloading the ImageNet weights", done, total)
        if total and done != total:
            raise OSError(f"the connection ended after {done:,} of {total:,} bytes")
        file.flush()
        os.fsync(file.fileno())


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
