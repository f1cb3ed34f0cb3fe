"""Decode chunks of image files for another process: ``python -m catsdogs.inference.worker DESCRIPTOR``."""

import os
import select
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection

from ..errors import CatsDogsError
from .loading import ChunkLoader


def main() -> None:
    """Answer each chunk that comes through the connection, until the other process closes it or ends."""
    connection = Connection(int(sys.argv[1]))
    threading.Thread(target=_end_with, args=(connection.fileno(),), daemon=True).start()
    with suppress(EOFError, ConnectionError):
        views, known, shared = connection.recv()
        memory, loader = shared.map(), ChunkLoader(views, known)
        while True:
            slot, first, files = connection.recv()
            loader.timer.seconds.clear()
            try:
                loaded = loader.load(files, first, shared.chunk(memory, slot))
            except CatsDogsError as error:
                connection.send(error)
            else:
                connection.send((loaded.records, loaded.reasons, loader.timer.seconds))


def _end_with(descriptor: int) -> None:
    """End this process, even while it decodes, when the other side of the connection is closed."""
    closed = select.poll()
    closed.register(descriptor, select.POLLRDHUP)
    closed.poll()
    os._exit(0)


if __name__ == "__main__":
    main()
