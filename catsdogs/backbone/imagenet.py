"""Download Keras' ImageNet weights of ResNet50 into Keras' own cache.

Pooch downloads to a temporary file, checks its hash and renames it.
"""

import os
from contextlib import ExitStack
from pathlib import Path

from ..errors import CatsDogsError
from ..progress import Progress, tell

IMAGENET_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_URL = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
IMAGENET_MD5 = "4d473c1dd8becc155b73f8504c6f6626"
"""File name, URL and MD5 as Keras publishes them (keras/src/applications/resnet.py)."""

MAX_BYTES = 1 << 28
"""Largest download that is accepted; the weights have 94,765,736 bytes."""

_BLOCK = 1 << 18


def imagenet_path() -> Path:
    """Return the path of the ImageNet weights of ResNet50 without top in Keras' cache (keras/src/backend/config.py)."""
    if home := os.environ.get("KERAS_HOME"):
        folder = Path(os.path.expanduser(home))  # noqa: PTH111 - without a home pathlib raises and Keras does not
    else:
        user = os.path.expanduser("~")  # noqa: PTH111
        folder = Path(user if os.access(user, os.W_OK) else "/tmp", ".keras")  # noqa: S108 - as Keras does
    return folder / "models" / IMAGENET_FILE


def fetch_imagenet(base_url: str = IMAGENET_URL, *, timeout: float = 20.0, progress: Progress | None = None) -> Path:
    """Return the path of Keras' ImageNet weights; download them to Keras' own cache if they are missing.

    Parameters
    ----------
    base_url : str
        URL of the folder of the file.
    timeout : float
        Seconds to wait for the server to send data.
    progress : callable, optional
        Called with the bytes downloaded and the bytes in total (0 if the server does not report the size).

    Raises
    ------
    CatsDogsError
        The file could not be downloaded, or is not the file that Keras publishes. An existing file is kept.
    """
    import pooch

    path, url = imagenet_path(), base_url.rstrip("/") + "/" + IMAGENET_FILE
    finding = "the ImageNet weights are not on this machine"

    def download(*arguments: object) -> None:
        Path(str(arguments[1])).chmod(0o644)  # temporary files are 0600, but other users may share Keras' cache
        with ExitStack() as answers:  # pooch does not close responses that end in an error
            hooks = {"response": lambda answer, **_: answers.enter_context(answer)}
            pooch.HTTPDownloader(_ProgressBar(progress), _BLOCK, timeout=timeout, hooks=hooks)(*arguments)

    try:
        if path.is_file():
            finding = f"{path} is not the file that Keras publishes"
        pooch.get_logger().setLevel("WARNING")  # `progress` reports the download, not pooch's log
        pooch.retrieve(url, f"md5:{IMAGENET_MD5}", fname=path.name, path=path.parent, downloader=download)
    except (OSError, ValueError) as error:
        hint = f"Put the file at {path}, or use --weights FILE; for testing and timing, use --weights random"
        raise CatsDogsError(f"{finding}, and could not be downloaded from {url} ({_reason(error)})", hint) from error
    return path


class _ProgressBar:
    """A progress bar with the interface that pooch expects."""

    total = 0  # set by pooch if the server reports the size

    def __init__(self, progress: Progress | None) -> None:
        self._progress, self._done = progress, 0
        self.update(0)

    def update(self, more: int) -> None:
        self._done = min(self._done + more, self.total or MAX_BYTES + 1)
        tell(self._progress, "downloading ImageNet weights", self._done, self.total)
        if max(self._done, self.total) > MAX_BYTES:
            raise OSError(f"the file is larger than {MAX_BYTES:,} bytes")

    def reset(self) -> None:
        """Do nothing: pooch calls `update(total)` next, and `update` never exceeds the total."""

    close = reset


def _reason(error: BaseException) -> str:
    """Return the first sentence of the original error, which those of requests and urllib3 wrap."""
    while error.__context__:
        error = error.__context__
    text = getattr(error, "strerror", None) or (f"{error}" if isinstance(error, OSError | ValueError) else f"{error!r}")
    return " ".join(text.split()).partition(". ")[0].partition(" for url: ")[0].rstrip(".")
