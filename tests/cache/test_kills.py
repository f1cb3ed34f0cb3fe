import itertools
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.cache import (
    IMAGES,
    KILLS,
    TRAIN,
    abandon,
    add_missing,
    fill,
    fill_slowly,
    folder_in_memory,
    fresh,
    many,
    open_writer,
    seen,
    shards_of,
    tree,
)

from catsdogs.cache import load_features

TESTS = Path(__file__).parents[1]


def run(call):
    """Return a command that runs a function of `support.cache` in a new process."""
    return [sys.executable, "-c", f"from pathlib import Path; from support import cache; cache.{call}"]


def test_a_kill_at_any_system_call_loses_no_row_in_a_shard():
    """`EVERY` selects the calls."""
    with folder_in_memory() as root:
        done = subprocess.run(
            run(f"kill_at_every_step(Path({str(root)!r}))"), cwd=TESTS, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    assert [int(line.split()[-1]) > 20 for line in done.stdout.splitlines()] == len(KILLS) * [True]


@pytest.mark.slow
def test_a_run_that_is_killed_40_times_computes_each_row_once(tmp_path):
    roots, computed = (tmp_path / "killed", tmp_path / "not"), []
    for patience in [*np.random.default_rng(0).integers(1, 9, 40).tolist(), None]:
        with subprocess.Popen(
            run(f"fill_slowly(Path({str(roots[0])!r}))"), cwd=TESTS, stdout=subprocess.PIPE
        ) as filler:
            lines = list(itertools.islice(filler.stdout, patience))
            if patience:
                filler.kill()
                lines += filler.stdout
        assert filler.returncode == (-signal.SIGKILL if patience else 0)
        computed += [int(line) for line in lines]
    # A row may be in a shard although its run was killed before it could say so.
    assert len(computed) >= 260
    assert len(set(computed)) == len(computed)
    fill_slowly(roots[1])
    assert tree(roots[0]) == tree(roots[1])


@pytest.mark.parametrize("before", [{}, {"train": {"cat.1": b"x", "dog.3": b"b", "dog.20": b"c"}}])
def test_a_run_killed_after_its_last_row_is_completed_without_computing(tmp_path, before):
    images = {"train": {"cat.1": b"a", "dog.3": b"b", "dog.20": b"c"}}
    if before:
        fill(tmp_path, before)
    old = seen(tmp_path)
    abandon(tmp_path, images, 3)
    assert seen(tmp_path) == old
    assert fill(tmp_path, images) == {}
    assert tree(tmp_path) == fresh(images)


def test_a_kill_loses_only_the_rows_that_wait_for_a_shard(cache):
    images = IMAGES | {"train": TRAIN | many(3)["train"]}
    (first,) = abandon(cache, images, 1)
    assert len(list(add_missing(open_writer(cache, images), images))) == 2  # they wait, and nobody comes to write them
    assert len(shards_of(cache)) == 1
    assert {*fill(cache, images)} == {b"0", b"1", b"2"} - {first}
    assert tree(cache) == fresh(images)


def test_an_error_keeps_every_row_that_was_added(tmp_path):
    assert len(fill(tmp_path, stop=4)) == 4
    assert len(fill(tmp_path)) == 2
    assert tree(tmp_path) == fresh()


def test_a_row_of_a_killed_run_does_not_keep_an_old_reason(cache):
    images = IMAGES | {"train": TRAIN | {"cat.2": b"!broken otherwise"}}
    assert abandon(cache, images, 1) == [b"!broken otherwise"]
    assert fill(cache, images) == {}
    assert load_features(cache).unreadable == {"cat.2": "broken otherwise"}
    assert tree(cache) == fresh(images)
