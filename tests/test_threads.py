import scipy.linalg  # noqa: F401 - for its BLAS
from threadpoolctl import threadpool_info, threadpool_limits

from catsdogs.threads import single_threaded_blas


def blas_threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_every_blas_has_one_thread_only_within_the_context():
    with threadpool_limits(2, "blas"):
        with single_threaded_blas():
            assert blas_threads() == {1}
            with single_threaded_blas():
                assert blas_threads() == {1}
            assert blas_threads() == {1}
        assert blas_threads() == {2}
