"""Download Keras' ImageNet weights of ResNet50 into Keras' own cache.

Pooch does it: a temporary file, the hash checked, a rename.
"""

import http.client
import logging
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ..errors import CatsDogsError
from ..progress import Progress, tell

IMAGENET_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_URL = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
IMAGENET_MD5 = "4d473c1dd8becc155b73f8504c6f6626"
"""File, address and MD5 as Keras publishes them (keras/src/applications/resnet.py)."""

MIN_BYTES_PER_SECOND = 8192
"""Bytes a second that a server must send, on average over any stretch of `timeout` seconds."""

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
        Seconds that the server may be silent, or slower than `MIN_BYTES_PER_SECOND`.
    progress : callable, optional
        Told how many bytes are there, and how many there are in all (0 where the server does not say).

    Raises
    ------
    CatsDogsError
        It could not be downloaded, or is not the file that Keras publishes. What was in its place is still there.
    """
    import pooch

    path, url = imagenet_path(), base_url.rstrip("/") + "/" + IMAGENET_FILE
    download = partial(_download, timeout=timeout, progress=progress)
    finding = "the ImageNet weights are not here"
    try:
        if path.is_file():
            finding = f"{path} is not the file that Keras publishes"
        elif path.exists():
            raise OSError(f"{path} is no file")
        with _muted(pooch.get_logger()):  # it would write to standard error
            pooch.retrieve(url, f"md5:{IMAGENET_MD5}", fname=path.name, path=path.parent, downloader=download)
    except (OSError, ValueError) as error:
        # Where the hash is another, pooch goes on for several sentences.
        known = (getattr(of, "strerror", None) for of in (error, error.__context__))
        reason = next(filter(None, known), str(error).partition(". ")[0])
        raise CatsDogsError(
            f"{finding}, and could not be downloaded from {url} ({reason})",
            f"Put that file at {path}, or give --weights FILE; --weights random tries things out without them",
        ) from error
    return path


@contextmanager
def _muted(logger: logging.Logger) -> Iterator[None]:
    nothing = logging.Filter("nothing")  # it lets through what a logger of this name says
    logger.addFilter(nothing)
    try:
        yield
    finally:
        logger.removeFilter(nothing)


def _download(url: str, output_file: str, _: object, *, timeout: float, progress: Progress | None) -> None:
    """Write what is at `url` to a file: a downloader of pooch's, whose own has a timeout that each byte starts again.

    Raises
    ------
    OSError
        It could not be had, or not in time, or not all of it.
    """
    done = due = total = 0
    deadline = 0.0
    tell(progress, "downloading ImageNet weights", 0, 0)
    try:
        with _open(url, timeout) as response, Path(output_file).open("wb") as file:
            os.fchmod(file.fileno(), 0o644)  # temporary files are 0600, and others may read Keras' cache
            total = response.length or 0
            while True:
                tell(progress, "downloading ImageNet weights", done, total)
                if max(done, total) > MAX_BYTES:
                    raise OSError(f"it is larger than {MAX_BYTES:,} bytes")
                if done >= due:
                    due, deadline = done + int(MIN_BYTES_PER_SECOND * timeout), time.monotonic() + timeout
                if not (block := response.read1(_BLOCK)):
                    break
                if time.monotonic() > deadline:
                    raise TimeoutError(f"nothing, or next to nothing, came for {timeout:g} seconds")
                done += file.write(block)
    except urllib.error.HTTPError as error:
        error.close()
        raise OSError(f"the server answers {error.code} {' '.join(str(error.reason).split())}") from error
    except urllib.error.URLError as error:
        raise error.reason if isinstance(error.reason, OSError) else OSError(str(error.reason)) from error
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(f"{type(error).__name__}: {' '.join(str(error).split())}") from error
    if total and done != total:
        raise OSError(f"the connection ended after {done:,} of {total:,} bytes")


def _open(url: str, timeout: float) -> http.client.HTTPResponse:
    """Return a server's answer; `timeout` is for name server, addresses, redirects and headers together."""
    answer: Future[http.client.HTTPResponse] = Future()

    def ask() -> None:
        try:
            answer.set_result(urllib.request.urlopen(url, timeout=timeout))  # noqa: S310 - the caller's address
        except Exception as error:  # noqa: BLE001 - it is raised where somebody waits
            answer.set_exception(error)

    threading.Thread(target=ask, name="download", daemon=True).start()
    if not wait([answer], timeout).done:
        answer.add_done_callback(_close)
        raise TimeoutError(f"nothing, or next to nothing, came for {timeout:g} seconds")
    return answer.result()


def _close(late: "Future[http.client.HTTPResponse]") -> None:
    answer = late.exception() or late.result()
    if isinstance(answer, http.client.HTTPResponse | urllib.error.HTTPError):
        answer.close()
