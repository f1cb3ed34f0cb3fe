"""Download Keras' ImageNet weights of ResNet50 into Keras' own cache.

Pooch does it: a temporary file, the hash checked, a rename.
"""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ..errors import CatsDogsError
from ..progress import Progress

IMAGENET_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_URL = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
IMAGENET_MD5 = "4d473c1dd8becc155b73f8504c6f6626"
"""File, address and MD5 as Keras publishes them (keras/src/applications/resnet.py)."""

SLOWEST = 8192
"""Bytes a second that a server must send, on average over any stretch of `timeout` seconds."""

MAX_BYTES = 1 << 28
"""Nothing that we download comes near to it."""

_BLOCK = 1 << 18


def imagenet_path() -> Path:
    """Return where Keras keeps its ImageNet file of ResNet50 without top (keras/src/backend/config.py)."""
    if home := os.environ.get("KERAS_HOME"):
        folder = Path(home).expanduser()
    else:
        user = os.path.expanduser("~")  # noqa: PTH111 - where there is no home, pathlib raises and Keras goes on
        folder = Path(user if os.access(user, os.W_OK) else "/tmp", ".keras")  # noqa: S108 - as Keras does
    return folder / "models" / IMAGENET_FILE


def fetch_imagenet(base_url: str = IMAGENET_URL, *, timeout: float = 20.0, progress: Progress | None = None) -> Path:
    """Return the path of Keras' ImageNet weights, downloading them to Keras' own cache where they are not.

    Parameters
    ----------
    base_url : str
        What the file's name is appended to.
    timeout : float
        Seconds that the server may be silent, or slower than `SLOWEST`.
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
    try:
        if path.is_file():
            finding = f"{path} is not the file that Keras publishes"
        with _muted(pooch.get_logger()):  # it would write to standard error
            pooch.retrieve(
                url,
                f"md5:{IMAGENET_MD5}",
                fname=path.name,
                path=path.parent,
                downloader=partial(_download, timeout=timeout, progress=progress),
            )
    except (OSError, ValueError) as error:
        # Where the hash is another, pooch goes on for several sentences.
        reason = getattr(error, "strerror", None) or str(error).partition(". ")[0]
        raise CatsDogsError(
            f"{finding}, and could not be downloaded from {url} ({reason})",
            f"Put that file at {path}, or give --weights FILE; --weights random tries things out without them",
        ) from error
    return path


@contextmanager
def _muted(logger: logging.Logger) -> Iterator[None]:
    def nothing(_: logging.LogRecord) -> bool:
        return False

    logger.addFilter(nothing)
    try:
        yield
    finally:
        logger.removeFilter(nothing)


def _download(url: str, output_file: str, _: object, *, timeout: float, progress: Progress | None) -> None:
    """Write what is at `url` to a file, as a downloader of pooch's.

    Pooch's own has only the timeout of requests, which starts again with every byte that comes.

    Raises
    ------
    OSError
        It could not be had, or not in time, or is too large.
    """
    import requests
    import urllib3

    done = due = 0
    deadline = 0.0
    try:
        with requests.get(url, stream=True, timeout=timeout) as response, Path(output_file).open("wb") as file:
            os.fchmod(file.fileno(), 0o644)  # temporary files are 0600, and others may read Keras' cache
            response.raise_for_status()
            total = int(response.headers.get("Content-Length", 0))
            while True:
                if progress:
                    progress("downloading ImageNet weights", done, total)
                if done >= due:
                    due, deadline = done + int(SLOWEST * timeout), time.monotonic() + timeout
                block = response.raw.read1(_BLOCK)
                done += len(block)
                if not block:
                    return
                if max(done, total) > MAX_BYTES:
                    raise OSError(f"it is larger than {MAX_BYTES:,} bytes")
                if time.monotonic() > deadline:
                    raise TimeoutError(f"next to nothing came for {timeout:g} seconds")
                file.write(block)
    except requests.HTTPError as error:
        raise OSError(f"the server answers {str(error).partition(' for url: ')[0]}") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
        cause: BaseException = error
        while cause.__context__:  # requests wraps what urllib3 wraps
            cause = cause.__context__
        reason = getattr(cause, "strerror", None) or f"{type(cause).__name__}: {cause}"
        raise OSError(" ".join(str(reason).split())) from error
