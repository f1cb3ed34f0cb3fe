"""An address comes in; the bytes behind it go out to a file, or an error within seconds of the server's falling silent.

A socket's own timeout does not see to that: it starts again with every byte, with every address that the name
stands for, and asking the name server has none. So the socket has a thread to itself, and this one watches the clock.
"""

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import BinaryIO

SLOWEST = 8192
"""Bytes a second that a server must send, on average over any stretch of `timeout` seconds."""

MOST = 1 << 28
"""Bytes that nothing we download comes near to."""

_BLOCK = 1 << 18


def download(url: str, file: BinaryIO, *, timeout: float, progress: Callable[[int, int], None] | None = None) -> None:
    """Write what is at `url` to `file`.

    Parameters
    ----------
    url : str
        http or https; redirects are followed.
    file : binary file
    timeout : float
        Seconds that the server may be silent, or slower than `SLOWEST`.
    progress : callable, optional
        Told how many bytes are there, and how many there are in all (0 where the server does not say).

    Raises
    ------
    OSError
        It could not be had, or not all of it.
    """
    received: SimpleQueue[bytes | int | OSError] = SimpleQueue()
    over = threading.Event()
    threading.Thread(target=_receive, args=(url, timeout, received, over), name="download", daemon=True).start()
    done = total = due = 0
    if progress:
        progress(0, 0)
    try:
        while True:
            if done >= due:
                due, deadline = done + int(SLOWEST * timeout), time.monotonic() + timeout
            try:
                item = received.get(timeout=max(deadline - time.monotonic(), 0))
            except Empty:
                raise TimeoutError(f"nothing, or next to nothing, came for {timeout:g} seconds") from None
            if isinstance(item, OSError):
                raise item
            if isinstance(item, int):
                total = item
                continue
            if not item:
                break
            file.write(item)
            done += len(item)
            if max(done, total) > MOST:
                raise OSError(f"it is larger than {MOST:,} bytes")
            if progress:
                progress(done, total)
    finally:
        over.set()
    if total and done != total:
        raise OSError(f"the connection ended after {done:,} of {total:,} bytes")


def _receive(url: str, timeout: float, received: "SimpleQueue[bytes | int | OSError]", over: threading.Event) -> None:
    """Put the length, the blocks and an empty block, or what went wrong; stop after the block in which it is over."""
    try:
        # The other thread's clock is to run out first; this one only ends a thread that nobody waits for any more.
        with urllib.request.urlopen(url, timeout=2 * timeout) as answer:  # noqa: S310 - the caller's address, https by default
            received.put(answer.length or 0)
            while not over.is_set() and (block := answer.read1(_BLOCK)):
                received.put(block)
        received.put(b"")
    except urllib.error.HTTPError as error:
        error.close()
        received.put(OSError(f"the server answers {error.code} {_one_line(error.reason)}"))
    except urllib.error.URLError as error:
        received.put(error.reason if isinstance(error.reason, OSError) else OSError(str(error.reason)))
    except OSError as error:
        received.put(error)
    except Exception as error:  # noqa: BLE001 - a server's nonsense has many names, and in a thread nobody hears it
        received.put(OSError(f"{type(error).__name__}: {_one_line(error)}"))


def _one_line(said: object) -> str:
    return " ".join(str(said).split())
