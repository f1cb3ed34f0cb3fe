import itertools
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.cache import IMAGES, TRAIN, abandon, fill, fill_slowly, folder_in_memory, fresh, tree

from catsdogs.cache import load_features
from catsdogs.errors import CatsDogsError

TESTS = Path(__file__).parents[1]


def test_a_kill_at_any_system_call_loses_no_whole_row_and_leaves_no_trace():
    """Which of the calls, `EVERY` says."""
    with folder_in_memory() as root:
        code = f"import pathlib; from support import cache; cache.kill_at_every_step(pathlib.Path({str(root)!r}))"
        done = subprocess.run([sys.executable, "-c", code], cwd=TESTS, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [int(line.split()[-1]) > 20 for line in done.stdout.splitlines()] == 4 * [True]


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_computes_each_row_once(tmp_path):
    roots, computed = (tmp_path / "killed", tmp_path / "not"), []
    for patience in (1, 30, 50, None):
        code = f"import pathlib; from support import cache; cache.fill_slowly(pathlib.Path({str(roots[0])!r}))"
        with subprocess.Popen([sys.executable, "-c", code], cwd=TESTS, stdout=subprocess.PIPE) as run:
            lines = list(itertools.islice(run.stdout, patience))
            if patience:
                run.kill()
                lines += run.stdout
        assert run.returncode == (-signal.SIGKILL if patience else 0)
        computed += [int(line) for line in lines]
    # A row may be whole although its run was killed before it could say so.
    assert len(computed) >= 197
    assert len(set(computed)) == len(computed)
    fill_slowly(roots[1])
    assert tree(roots[0]) == tree(roots[1])


@pytest.mark.parametrize("before", [{}, {"train": {"cat.1": b"x", "dog.3": b"b"}}])
def test_a_run_killed_after_its_last_row_is_completed_without_computing(tmp_path, before):
    images = {"train": {"cat.1": b"a", "dog.3": b"b"}}
    if before:
        fill(tmp_path, before)
    abandon(tmp_path, images, 2)
    with pytest.raises(CatsDogsError, match="not complete"):
        load_features(tmp_path)
    assert fill(tmp_path, images) == []
    assert tree(tmp_path) == fresh(images)


def test_a_row_that_a_killed_run_wrote_has_not_the_reason_of_the_one_before(cache):
    images = IMAGES | {"train": TRAIN | {"cat.2": b"!broken otherwise"}}
    assert abandon(cache, images, 1) == [("train", "cat.2")]
    fill(cache, images)
    assert load_features(cache).unreadable == {"cat.2": "broken otherwise"}
    assert tree(cache) == fresh(images)
