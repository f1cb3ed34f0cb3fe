import subprocess
import sys

import joblib
import pytest
import scipy.linalg  # noqa: F401 - for its BLAS
from threadpoolctl import threadpool_info, threadpool_limits

from catsdogs import threads
from catsdogs.threads import available_memory, cpu_count, single_threaded_blas


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


@pytest.mark.parametrize("scipy", [(True, True), (False, True), (True, False)])
def test_overlapping_contexts_of_two_threads_leave_the_threads_as_they_were(scipy):
    with threadpool_limits(2, "blas"):
        first, second = (single_threaded_blas(scipy=one) for one in scipy)
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert min(blas_threads()) == 1
        second.__exit__(None, None, None)
        assert blas_threads() == {2}


SCIPY_LATER = """
from threadpoolctl import threadpool_info, threadpool_limits
from catsdogs.threads import single_threaded_blas
with threadpool_limits(2, "blas"), single_threaded_blas():
    import scipy.linalg
    print({library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"})
"""


def test_the_blas_of_scipy_has_one_thread_too_if_scipy_is_imported_later():
    ended = subprocess.run([sys.executable, "-c", SCIPY_LATER], capture_output=True, text=True, check=True)
    assert ended.stdout == "{1}\n"


def test_cores_are_counted_as_joblib_counts_them():
    assert cpu_count() == joblib.cpu_count()


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({}, 8),
    ],
)
def test_a_quota_of_a_container_limits_the_cores(files, count, tmp_path, monkeypatch, write_folder):
    write_folder(tmp_path, {name: text.encode() for name, text in files.items()})
    monkeypatch.setattr(threads, "_CGROUPS", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(8), raising=False)
    assert cpu_count() == count


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("limit", "free"), [("6000", 6000 - 5000 + 3500), ("max", None)])
def test_free_memory_is_that_of_the_container(version, limit, free, tmp_path, monkeypatch, write_folder):
    monkeypatch.setattr(threads, "_CGROUPS", tmp_path)
    machine = available_memory()
    limit = "9223372036854771712" if (version, limit) == (1, "max") else limit
    total, names = (
        ("total_", "memory.limit_in_bytes memory.usage_in_bytes") if version == 1 else ("", "memory.max memory.current")
    )
    stat = f"active_file 1\n{total}active_file 1500\n{total}inactive_file 2000\n"
    contents = dict(zip((*names.split(), "memory.stat"), (limit, "5000", stat if total else stat[14:]), strict=True))
    write_folder(tmp_path / ("memory" if total else ""), {name: text.encode() for name, text in contents.items()})
    assert available_memory() == free if free else available_memory() > 0.5 * machine > 0
