"""Run one thread for each core, with a BLAS that uses one thread each.

The threads of a BLAS wait for each other in busy loops. If the cores have other work, or the matrices are small, that
takes several times as long as one block of rows for each thread.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

from joblib import cpu_count


@contextmanager
def single_threaded_blas() -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of as many threads as there are cores; meanwhile, BLAS uses one thread for each call."""
    with _blas().limit(limits=1, user_api="blas"), ThreadPoolExecutor(cpu_count()) as threads:
        yield threads


@cache
def _blas() -> Any:
    """Return the controller of all BLAS libraries; finding them takes about 3 ms, so it is done once."""
    import scipy.special  # noqa: F401 - loads SciPy's own BLAS, which must be found as well as NumPy's
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
