"""Run one thread a core, each with a BLAS of one thread.

BLAS's own threads wait for each other busily: where the cores have other work too, or the products are small, that
costs a multiple of the time. Work by blocks of rows, one a thread, costs its share and no more.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

from joblib import cpu_count


@contextmanager
def single_threaded_blas() -> Iterator[ThreadPoolExecutor]:
    """Give as many threads as there are cores; within, BLAS has one for each of them."""
    with _blas().limit(limits=1, user_api="blas"), ThreadPoolExecutor(cpu_count()) as threads:
        yield threads


@cache
def _blas() -> Any:
    """Return the controller of all BLAS libraries; to look for them takes some 3 ms, so it is done once."""
    import scipy.special  # noqa: F401 - it loads SciPy's own BLAS, which is to be found as well as NumPy's
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
