"""Download Keras' ImageNet weights of ResNet50 into Keras' own cache.

Pooch does it: a temporary file, the hash checked, a rename.
"""

import os
from contextlib import ExitStack
from pathlib import Path

from ..errors import CatsDogsError
from ..progress import Progress, tell

IMAGENET_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_URL = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
IMAGENET_MD5 = "4d473c1dd8becc155b73f8504c6f6626"
"""File, address and MD5 as Keras publishes them (keras/src/applications/resnet.py)."""

MAX_BYTES = 1 << 28
"""Nothing that we download comes near to it."""

_BLOCK = 1 << 18


def imagenet_path() -> Path:
    """Return where Keras keeps its ImageNet file of ResNet50 without top (keras/src/backend/config.py)."""
    if home := os.environ.get("KERAS_HOME"):
        folder = Path(os.path.expanduser(home))  # noqa: PTH111 - where there is no home, pathlib raises and Keras goes on
    else:
        user = os.path.expanduser("~")  # noqa: PTH111
        folder = Path(user if os.access(user, os.W_OK) else "/tmp", ".keras")  # noqa: S108 - as Keras does
    return folder / "models" / IMAGENET_FILE


def fetch_imagenet(base_url: str = IMAGENET_URL, *, timeout: float = 20.0, progress: Progress | None = None) -> Path:
    """Return the path of Keras' ImageNet weights, downloading them to Keras' own cache where they are not.

    Parameters
    ----------
    base_url : str
        What the file's name is appended to.
    timeout : float
        Seconds that the server may be silent.
    progress : callable, optional
        Told how many bytes are there, and how many there are in all (0 where the server does not say).

    Raises
    ------
    CatsDogsError
        It could not be downloaded, or is not the file that Keras publishes. What was in its place is still there.
    """
    import pooch

    path, url = imagenet_path(), base_url.rstrip("/") + "/" + IMAGENET_FILE
    finding = "the ImageNet weights are not here"

    def download(*where: object) -> None:
        Path(str(where[1])).chmod(0o644)  # temporary files are 0600, and others may read Keras' cache
        with ExitStack() as answers:  # pooch closes none that ends in an error
            hooks = {"response": lambda answer, **_: answers.enter_context(answer)}
            pooch.HTTPDownloader(_Bar(progress), _BLOCK, timeout=timeout, hooks=hooks)(*where)

    try:
        if path.is_file():
            finding = f"{path} is not the file that Keras publishes"
        pooch.get_logger().setLevel("WARNING")  # what it would write to standard error besides, progress says
        pooch.retrieve(url, f"md5:{IMAGENET_MD5}", fname=path.name, path=path.parent, downloader=download)
    except (OSError, ValueError) as error:
        raise CatsDogsError(
            f"{finding}, and could not be downloaded from {url} ({_reason(error)})",
            f"Put that file at {path}, or give --weights FILE; --weights random tries things out without them",
        ) from error
    return path


class _Bar:
    """A progress bar as pooch knows it."""

    total = 0  # set by pooch, where the server says it

    def __init__(self, progress: Progress | None) -> None:
        self._progress, self._done = progress, 0
        self.update(0)

    def update(self, more: int) -> None:
        self._done = min(self._done + more, self.total or MAX_BYTES + 1)
        tell(self._progress, "downloading ImageNet weights", self._done, self.total)
        if max(self._done, self.total) > MAX_BYTES:
            raise OSError(f"it is larger than {MAX_BYTES:,} bytes")

    def reset(self) -> None:
        """Stay: pooch then adds `total` once more, and what is done is no more than that."""

    close = reset


def _reason(error: BaseException) -> str:
    """Return the first sentence of the error that the others, of requests and urllib3, came of."""
    while error.__context__:
        error = error.__context__
    text = getattr(error, "strerror", None) or (f"{error}" if isinstance(error, OSError | ValueError) else f"{error!r}")
    return " ".join(text.split()).partition(". ")[0].partition(" for url: ")[0].rstrip(".")
