import os
import platform
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

import catsdogs
from catsdogs.artifacts import Artifacts
from catsdogs.errors import CatsDogsError
from catsdogs.locks import BOTH, FEATURES, RESULTS, require_unlocked, write_lock

HOLDER = """
import sys
from pathlib import Path
from catsdogs.locks import BOTH, write_lock
with write_lock(Path(sys.argv[1]), *BOTH):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(folder):
    command, pipe = [sys.executable, "-c", HOLDER, folder], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture
def holder(tmp_path):
    with held_elsewhere(tmp_path) as process:
        yield process


def test_only_one_process_writes_and_a_dead_one_holds_no_lock(tmp_path, holder):
    claim = rf"is being written by another run, process {holder.pid} on .*\. Wait .*--wait"
    for name in BOTH:
        for attempt in (lambda: write_lock(tmp_path, name).__enter__(), lambda: require_unlocked(tmp_path, name)):  # noqa: B023
            with pytest.raises(CatsDogsError, match=claim):
                attempt()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    for name in BOTH:
        require_unlocked(tmp_path, name)
    with write_lock(tmp_path, RESULTS):
        pass


def test_a_waiting_process_names_the_holder_and_continues_after_it(tmp_path, holder):
    told = []

    def end_the_other(step, done, total):
        told.append(step)
        holder.send_signal(signal.SIGKILL)

    with catsdogs.lock(tmp_path, progress=end_the_other), write_lock(tmp_path, RESULTS):
        assert told == [f"waiting for process {holder.pid} on {platform.node()}"]
    with catsdogs.lock(tmp_path, progress=end_the_other):
        assert len(told) == 1


def test_a_waiting_process_continues_if_the_folder_was_removed(tmp_path):
    folder = tmp_path / "new" / "folder"
    with held_elsewhere(folder) as process:

        def end_the_other(step, done, total):
            process.communicate("")
            assert not folder.parent.exists()

        with catsdogs.lock(folder, progress=end_the_other):
            assert process.returncode == 0
            (folder / "features").mkdir()
    assert folder.exists()


def test_only_folders_created_for_a_lock_are_removed_with_it(tmp_path):
    with write_lock(tmp_path / "a" / "b", FEATURES):
        pass
    assert not list(tmp_path.iterdir())
    with ExitStack() as others:
        with write_lock(tmp_path / "a" / "b", FEATURES):
            others.enter_context(held_elsewhere(tmp_path / "a" / "c"))
            others.enter_context(write_lock(tmp_path / "a" / "b", RESULTS))
        with pytest.raises(CatsDogsError, match="is being written"):
            require_unlocked(tmp_path / "a" / "c", RESULTS)
        assert (tmp_path / "a" / "b" / ".results.lock").exists()


def test_a_lock_is_held_until_the_outermost_call_returns(tmp_path):
    code = (
        "import sys, pathlib; from catsdogs.locks import FEATURES, write_lock\n"
        "with write_lock(pathlib.Path(sys.argv[1]), FEATURES): pass"
    )
    with catsdogs.lock(tmp_path):
        with write_lock(tmp_path, RESULTS):
            pass
        other = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
        assert f"process {os.getpid()} on" in other.stderr
    assert subprocess.run([sys.executable, "-c", code, tmp_path]).returncode == 0


def test_an_error_of_writing_is_not_reported_as_one_of_the_lock(tmp_path):
    claim = r"cannot be written \(mine\).*finished work is kept"
    with pytest.raises(CatsDogsError, match=claim), write_lock(tmp_path, RESULTS):
        raise PermissionError("mine")
    with write_lock(tmp_path, RESULTS):
        pass


def test_an_error_of_a_file_elsewhere_is_not_reported_of_the_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), write_lock(tmp_path / "else", RESULTS):
        (tmp_path / "elsewhere").read_bytes()
    with pytest.raises(CatsDogsError, match="else/missing cannot be written"), write_lock(tmp_path / "else", RESULTS):
        (tmp_path / "else" / "missing").read_bytes()


def test_a_path_that_cannot_be_a_folder_is_an_error_of_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with (
            pytest.raises(CatsDogsError, match=r"(is not a folder|cannot be written).*--artifacts"),
            Artifacts.open(root, FEATURES),
        ):
            pass


WAITER = """
import sys, catsdogs
with catsdogs.lock(sys.argv[1], progress=lambda step, done, total: print(step, flush=True)):
    pass
"""


def test_waiting_for_the_results_lock_does_not_hold_the_features_lock(tmp_path):
    command = [sys.executable, "-c", WAITER, tmp_path]
    with write_lock(tmp_path, RESULTS), subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiter:
        told = waiter.stdout.readline()
        try:
            with write_lock(tmp_path, FEATURES):
                assert told.startswith("waiting for")
        finally:
            waiter.kill()


def test_within_a_lock_another_thread_writes_and_two_at_a_time_do_not(tmp_path):
    def write():
        with write_lock(tmp_path, *BOTH):
            return "written"

    with ThreadPoolExecutor(1) as threads:
        with catsdogs.lock(tmp_path):
            assert threads.submit(write).result(timeout=30) == "written"
            assert write() == "written"
        with (
            write_lock(tmp_path, *BOTH),
            pytest.raises(CatsDogsError, match=f"by another run, process {os.getpid()} on"),
        ):
            threads.submit(write).result(timeout=30)
        assert threads.submit(write).result(timeout=30) == "written"
