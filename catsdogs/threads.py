"""Count the cores and the free memory, and run one thread for each core, with a BLAS that uses one thread each.

The threads of a BLAS wait for each other in busy loops. If the cores have other work, or the matrices are small, that
takes several times as long as one block of rows for each thread.
"""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

_CGROUPS = Path("/sys/fs/cgroup")


def cpu_count() -> int:
    """Return the number of cores that the process may use: by its affinity, and by its container's quota of time.

    The import of joblib, which has such a function, takes longer than a prediction.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):  # cgroups of version 2, and of 1
        with suppress(OSError, ValueError):  # there are no such files, or the quota is "max"
            quota, period = map(int, " ".join((_CGROUPS / name).read_text() for name in files).split())
            if quota > 0:
                cores = min(cores, -(-quota // period))
    return cores


def available_memory() -> int:
    """Return the bytes of memory that are free, or can be freed, in the machine or in its container; 0 if not known."""
    free = []
    with suppress(OSError, ValueError, StopIteration):
        free.append(1024 * _field(Path("/proc/meminfo"), "MemAvailable:"))
    for limit, used, total in (  # cgroups of version 2, and of 1
        ("memory.max", "memory.current", ""),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_"),
    ):
        with suppress(OSError, ValueError, StopIteration):
            stat = (_CGROUPS / limit).with_name("memory.stat")
            cached = sum(_field(stat, f"{total}{state}_file") for state in ("active", "inactive"))
            free.append(int((_CGROUPS / limit).read_text()) - int((_CGROUPS / used).read_text()) + cached)
    return max(0, min(free, default=0))


def _field(path: Path, name: str) -> int:
    """Return a number in a file of lines of names and numbers."""
    return next(int(words[1]) for words in map(str.split, path.read_text().splitlines()) if words[0] == name)


class _BlasLimit:
    """A limit to one thread, from the first of several overlapping contexts to the last.

    Each of threadpoolctl's limits restores what it found. If two overlap in different threads, the second finds the
    limit of the first, and would restore it at the end, for the rest of the process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contexts = 0
        self._limited: set[bool] = set()
        self._limits = ExitStack()

    @contextmanager
    def __call__(self, *, scipy: bool) -> Iterator[None]:
        with self._lock:
            if scipy not in self._limited:
                self._limits.enter_context(_blas(scipy).limit(limits=1, user_api="blas"))
                self._limited.add(scipy)
            self._contexts += 1
        try:
            yield
        finally:
            with self._lock:
                self._contexts -= 1
                if not self._contexts:
                    self._limits.close()
                    self._limited.clear()


_blas_limit = _BlasLimit()


@contextmanager
def single_threaded_blas(*, scipy: bool = True) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of as many threads as there are cores; meanwhile, BLAS uses one thread for each call.

    SciPy has a BLAS of its own; without `scipy`, it may not be limited. Contexts may overlap in several threads.
    """
    with _blas_limit(scipy=scipy), ThreadPoolExecutor(cpu_count()) as threads:
        yield threads


@cache
def _blas(with_scipy: bool) -> Any:
    """Return the controller of all BLAS libraries; finding them takes about 3 ms, so it is done once."""
    if with_scipy:
        import scipy.linalg  # noqa: F401 - loads SciPy's own BLAS, which must be found as well as NumPy's
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
