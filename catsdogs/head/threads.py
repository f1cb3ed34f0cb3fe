"""Run one thread a core, each with a BLAS of one thread.

BLAS's own threads wait for each other busily: where the cores have other work too, or the products are small, that
costs a multiple of the time. Work by blocks of rows, one a thread, costs its share and no more.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from joblib import cpu_count


@contextmanager
def single_threaded_blas() -> Iterator[ThreadPoolExecutor]:
    """Give as many threads as there are cores; within, BLAS has one for each of them."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(cpu_count()) as threads:
        yield threads
