"""Count the cores, and run one thread for each, with a BLAS that uses one thread each.

The threads of a BLAS wait for each other in busy loops. If the cores have other work, or the matrices are small, that
takes several times as long as one block of rows for each thread.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
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


@contextmanager
def single_threaded_blas(*, scipy: bool = True) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of as many threads as there are cores; meanwhile, BLAS uses one thread for each call.

    SciPy has a BLAS of its own; without `scipy`, it may not be limited.
    """
    with _blas(scipy).limit(limits=1, user_api="blas"), ThreadPoolExecutor(cpu_count()) as threads:
        yield threads


@cache
def _blas(with_scipy: bool) -> Any:
    """Return the controller of all BLAS libraries; finding them takes about 3 ms, so it is done once."""
    if with_scipy:
        import scipy.linalg  # noqa: F401 - loads SciPy's own BLAS, which must be found as well as NumPy's
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
