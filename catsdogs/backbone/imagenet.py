"""Download Keras' ImageNet weights of ResNet50 into Keras' own cache.

Pooch does it: a temporary file, the hash checked, a rename. What it lacks is a limit on how long a server may keep one
waiting: the timeouts of requests start again with every byte and with every address that a name stands for, and do not
count asking the name server. So the download has a thread to itself, and the caller's watches the clock.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO

from ..errors import CatsDogsError
from ..progress import Progress

IMAGENET_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_URL = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
IMAGENET_MD5 = "4d473c1dd8becc155b73f8504c6f6626"
"""File, address and MD5 as Keras publishes them (keras/src/applications/resnet.py)."""

CHUNK_BYTES = 1 << 17
"""What must come within `timeout` seconds: a server slower than 6.5 kB/s is as good as a silent one."""

MAX_BYTES = 1 << 28
"""Nothing that we download comes near to it."""

STALE_SECONDS = 3600.0
"""A temporary file that has not grown for so long is one that a killed process has left."""

_Received = SimpleQueue[tuple[int, int] | OSError | None]


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
        Seconds that the server may be silent, or send less than `CHUNK_BYTES`.
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
        with _muted(pooch.get_logger()):
            pooch.retrieve(
                url,
                f"md5:{IMAGENET_MD5}",
                fname=path.name,
                path=path.parent,
                downloader=partial(_download, timeout=timeout, progress=progress),
                processor=_remove_leftovers,
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
    """Keep a logger from saying anything of what this thread does; for others it stays as it is."""
    thread = threading.get_ident()

    def of_others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logger.addFilter(of_others)
    try:
        yield
    finally:
        logger.removeFilter(of_others)


def _download(url: str, output_file: str, _: object, *, timeout: float, progress: Progress | None) -> None:
    """Write what is at `url` to a file, as a downloader of pooch's.

    Raises
    ------
    OSError
        It could not be had, or not in time, or is too large.
    """
    received: _Received = SimpleQueue()
    done, total = 0, 0
    # Once the file is closed, a thread that is still receiving ends at its next write.
    with Path(output_file).open("wb") as file:
        os.fchmod(file.fileno(), 0o644)  # temporary files are 0600, and a cache may be read by others
        threading.Thread(target=_receive, args=(url, file, 2 * timeout, received), name="download", daemon=True).start()
        while True:
            if progress:
                progress("downloading ImageNet weights", done, total)
            try:
                item = received.get(timeout=timeout)
            except Empty:
                raise TimeoutError(f"nothing, or next to nothing, came for {timeout:g} seconds") from None
            if item is None:
                return
            if isinstance(item, OSError):
                raise item
            done, total = item
            if max(done, total) > MAX_BYTES:
                raise OSError(f"it is larger than {MAX_BYTES:,} bytes")


class _Meter:
    """A progress bar, to pooch; it puts how many bytes are there, and how many there are in all."""

    def __init__(self, file: BinaryIO, received: _Received) -> None:
        self.total = 0
        self._file, self._received = file, received

    def update(self, _: int) -> None:
        self._received.put((self._file.tell(), self.total))

    def reset(self) -> None: ...

    def close(self) -> None: ...


def _receive(url: str, file: BinaryIO, timeout: float, received: _Received) -> None:
    """Put what `_Meter` does, and at the end None or what went wrong."""
    import pooch
    import requests

    answers = ExitStack()  # which pooch does not close

    def close_later(answer: Any, **_: object) -> None:
        answers.callback(answer.close)

    try:
        with answers:
            # The other thread's clock is to run out first; this timeout ends a thread that nobody waits for any more.
            download = pooch.HTTPDownloader(
                _Meter(file, received), CHUNK_BYTES, timeout=timeout, hooks={"response": close_later}
            )
            download(url, file, None)
        received.put(None)
    except requests.HTTPError as error:
        received.put(OSError(f"the server answers {str(error).partition(' for url: ')[0]}"))
    except Exception as error:  # noqa: BLE001 - a server's nonsense has many names, and in a thread nobody hears it
        cause: BaseException = error
        while cause.__context__:
            cause = cause.__context__
        reason = getattr(cause, "strerror", None) or f"{type(cause).__name__}: {cause}"
        received.put(OSError(" ".join(str(reason).split())))


def _remove_leftovers(path: str, action: str, _: object) -> str:
    """Remove what killed downloads have left beside a file that was downloaded, as a processor of pooch's.

    The names of temporary files do not say whose they are, so only those go that hold a beginning of that very file.
    """
    downloaded = Path(path)
    for left in downloaded.parent.glob("tmp*") if action != "fetch" else ():
        with suppress(OSError):  # another process was faster, or it is another user's
            found, content = left.stat(), downloaded.read_bytes()
            if (
                time.time() - found.st_mtime > STALE_SECONDS
                and 0 < found.st_size <= len(content)
                and content.startswith(left.read_bytes())
            ):
                left.unlink()
    return path
