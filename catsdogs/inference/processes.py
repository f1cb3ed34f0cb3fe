"""Decode image files in processes, which write the pixels into shared memory.

Threads that decode wait for Python's lock, which a part of the work on each image needs. A process that decodes a whole
chunk needs nothing of this one meanwhile, and this one needs its lock once a chunk.
"""

import mmap
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbone.gpu import may_have_gpu
from ..errors import CatsDogsError
from ..images.memory import MEMORY_BUDGET
from ..images.views import SIZE, View
from ..sources import ImageFile
from ..threads import available_memory, cpu_count
from .loading import ChunkLoader, LoadedImages

PROCESSES: int | None = None
"""Number of processes, for tests and benchmarks: 0 for threads, or None for what `start_processes` chooses."""

MIN_PROCESSES, MIN_FILES = 4, 2048
"""With fewer cores or files, threads decode: a process takes half a second to start."""

CHUNK_IMAGES = 128
"""Images of 224 x 224 pixels in a chunk: a batch of each engine on a GPU, which then computes it where it lies."""

MAX_SHARED_BYTES = 4 << 30
"""Maximum size of the shared memory, in which images are decoded ahead while the backbone loads."""

_Process = tuple[subprocess.Popen[bytes], Connection]

_TRIES = 3
"""How often a chunk is tried if its process ends: the first one may have ended before."""


@dataclass(frozen=True)
class SharedPixels:
    """Memory for the pixels of several chunks, which processes share.

    Parameters
    ----------
    descriptor : int
        The descriptor of an unnamed file in memory: it needs no folder, and vanishes with its last process.
    views : tuple of View
    images, chunks : int
        Images in a chunk, and number of chunks.
    """

    descriptor: int
    views: tuple[View, ...]
    images: int
    chunks: int

    @property
    def chunk_bytes(self) -> int:
        """Bytes of one chunk."""
        return self.images * sum(3 * view.size**2 for view in self.views)

    def map(self) -> mmap.mmap:
        """Map the memory into this process."""
        return mmap.mmap(self.descriptor, self.chunks * self.chunk_bytes)

    def chunk(self, memory: mmap.mmap, number: int) -> dict[View, NDArray[np.uint8]]:
        """Return the pixels of a chunk in the mapped memory, each of shape (images, size, size, 3)."""
        pixels, start = {}, number * self.chunk_bytes
        for view in self.views:
            count = self.images * 3 * view.size**2
            pixels[view] = np.frombuffer(memory, np.uint8, count, start).reshape(-1, view.size, view.size, 3)
            start += count
        return pixels


class DecodingProcesses:
    """Decodes chunks, each in one of several processes, for which the thread that calls `load` waits.

    A process that ends is replaced, and decodes the chunk again. All of them end with this process, even if it is
    killed, because their connections to it close.
    """

    def __init__(self, files: Sequence[ImageFile], loader: ChunkLoader, shared: SharedPixels, processes: int) -> None:
        self.threads, self.slots = processes, shared.chunks
        starts = range(0, len(files), shared.images)
        self.chunks = iter([range(start, min(start + shared.images, len(files))) for start in starts])
        self._files, self._loader, self._shared, self._memory = files, loader, shared, shared.map()
        self._setup = pickle.dumps((loader.views, loader.known, shared))
        self._descriptors = {shared.descriptor, *(number for file in files for number in file.descriptors() or ())}
        self._free, self._lock, self._closed = list(range(shared.chunks)), threading.Lock(), False
        self._running: list[subprocess.Popen[bytes]] = []
        self._idle = SimpleQueue[_Process | None]()
        for _ in range(processes):
            self._idle.put(None)

    def load(self, positions: range) -> LoadedImages:
        """Load a chunk; its slot is the chunk of the memory in which its pixels lie."""
        files, slot, ended = self._files[positions.start : positions.stop], self._free.pop(), 0
        used = self._idle.get()
        try:
            for _ in range(_TRIES):
                try:
                    process, connection = used = used or self._start()
                    connection.send((slot, positions.start, files))
                    return self._loaded(slot, connection.recv())
                except (EOFError, OSError):
                    ended, used = _end(process), None
        finally:
            self._idle.put(used)  # in any case: there is one for each thread
        finding = f"signal {-ended}" if ended < 0 else f"exit status {ended}"
        which = f"{files[0].display_path} and {len(files) - 1} more images"
        hint = "Free some memory, or remove an image on which the decoder fails, and rerun: finished work is kept"
        raise CatsDogsError(f"the process that decodes {which} ended ({finding})", hint)

    def _loaded(self, slot: int, answer: Any) -> LoadedImages:
        if isinstance(answer, CatsDogsError):
            raise answer
        records, reasons, seconds = answer
        for stage, taken in seconds.items():
            self._loader.timer.add(stage, taken)
        return LoadedImages(records, reasons, self._shared.chunk(self._memory, slot), slot)

    def release(self, slot: int) -> None:
        """Allow the memory of a chunk to be used again."""
        self._free.append(slot)

    def close(self) -> None:
        """End the processes at once, which ends calls of `load`, and give the memory back."""
        with self._lock:
            self._closed = True
        for process in self._running:
            process.kill()
            process.wait()
        self._memory.madvise(mmap.MADV_REMOVE)  # even if an error's traceback still refers to it
        os.close(self._shared.descriptor)

    def _start(self) -> _Process:
        """Start a process in the state in which this one was started: it imports nothing that the user has defined."""
        path = os.pathsep.join(name or str(Path.cwd()) for name in sys.path)
        ours, theirs = Pipe()
        with self._lock, theirs:
            if self._closed:
                raise CancelledError
            try:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", f"{__package__}.worker", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env=os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
                    pass_fds=(theirs.fileno(), *self._descriptors),
                    process_group=0,  # Ctrl-C in a terminal reaches only this process, which ends the others
                )
            except OSError as error:
                message = f"a process that decodes images cannot be started ({error.strerror})"
                raise CatsDogsError(message, "Free some memory or end other processes, and rerun") from error
            self._running.append(process)
        with suppress(OSError):  # sending the first chunk fails, too
            ours.send_bytes(self._setup)
        return process, ours


def start_processes(files: Sequence[ImageFile], loader: ChunkLoader) -> DecodingProcesses | None:
    """Prepare processes if they are worth it, and possible; otherwise return None.

    They are where a GPU computes, as all cores decode for it: with four cores or more, and where each process may take
    the memory that the largest image needs. Others than files of the file system and of zips are read in this process.
    """
    if PROCESSES is None and len(files) < MIN_FILES:  # before the system is asked, as for one image
        return None
    views, free = tuple(loader.views), available_memory()
    processes = min(cpu_count(), free // 2 // MEMORY_BUDGET) if PROCESSES is None else PROCESSES
    if PROCESSES is None and (processes < MIN_PROCESSES or not may_have_gpu()):
        return None
    python = not getattr(sys, "frozen", False) and Path(sys.executable or "").name.startswith("python")
    if not (processes and views and python and sys.platform == "linux"):
        return None
    if any(file.descriptors() is None for file in files):
        return None
    # As `Backbone` chooses its batch size: a power of two with about as many pixels.
    images = 1 << max(0, (CHUNK_IMAGES * SIZE**2 // min(view.size for view in views) ** 2).bit_length() - 1)
    shared = SharedPixels(-1, views, images, 1)
    chunks = min(free // 4, MAX_SHARED_BYTES) // shared.chunk_bytes
    if chunks < 2 * processes:
        return None
    try:
        descriptor = os.memfd_create("catsdogs-pixels")
    except OSError:
        return None
    shared = SharedPixels(descriptor, views, images, min(chunks, -(-len(files) // images)))
    os.truncate(descriptor, shared.chunks * shared.chunk_bytes)
    return DecodingProcesses(files, loader, shared, processes)


def _end(process: subprocess.Popen[bytes]) -> int:
    """Return the exit status of a process whose connection is closed."""
    try:
        return process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
