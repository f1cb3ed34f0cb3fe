"""Faults and power cuts at every call that writes, and full disks, leave the old cache or the new one."""

import errno
import itertools
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from support.cache import (
    CHANGED,
    EVERY,
    IMAGES,
    MOVED,
    OTHER,
    TRAIN,
    add_missing,
    assemble,
    fill,
    folder_in_memory,
    fresh,
    one_row_a_shard,
    open_writer,
    restore,
    seen,
    seen_in,
    tree,
)
from support.faults import Disk, Killed, failing_at
from support.program import IN_PROCESS, process

import catsdogs
from catsdogs import CatsDogsError
from catsdogs.locks import FEATURES, write_lock
from catsdogs.storage import write_atomic

SCENARIOS = {
    "from nothing": (None, IMAGES, {}),
    "one row more": (IMAGES, IMAGES | {"train": TRAIN | {"dog.20": b"new"}}, {}),
    "moved rows": (IMAGES, MOVED, {"prune": True}),
    "other rows": (IMAGES, CHANGED, {"prune": True}),
    "another backbone": (IMAGES, CHANGED, {"prune": True, "provenance": OTHER}),
}


def full():
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def failed():
    return OSError(errno.EIO, os.strerror(errno.EIO))


FAULTS = {
    "full": (full, True),
    "full once": (full, False),
    "failed": (failed, False),
    "memory": (MemoryError, False),
    "killed": (Killed, True),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_fault_at_any_write_is_one_line_and_leaves_the_old_cache_or_the_new(scenario, fault):
    """`EVERY` selects the calls."""
    error, for_good = FAULTS[fault]
    before, images, options = SCENARIOS[scenario]
    old, new = before and fresh(before), fresh(images, **options)
    states = [seen_in(old), seen_in(new)]
    with folder_in_memory() as root, one_row_a_shard():
        first = 1 + (len(FAULTS) * list(SCENARIOS).index(scenario) + list(FAULTS).index(fault)) % EVERY
        for number in itertools.count(first, EVERY):
            restore(root, old)
            added, raised = [], None
            with failing_at(number, error, for_good=for_good) as called:
                try:
                    with write_lock(root, FEATURES):
                        fill(root, images, added=added.append, **options)
                except (CatsDogsError, MemoryError, Killed) as ended:
                    raised = ended
            assert raised is None or isinstance(raised, CatsDogsError if isinstance(error(), OSError) else error)
            assert len(str(raised).splitlines()) <= 1
            assert seen(root) in states
            assert not {*fill(root, images, **options)} & {*added}
            assert tree(root) == new, (number, called[number - 1])
            if len(called) < number:
                break
    assert len(called) > 30


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_power_cut_leaves_the_old_cache_or_the_new_and_every_shard(scenario):
    """`EVERY` selects the calls."""
    before, images, options = SCENARIOS[scenario]
    old, new = before and fresh(before), fresh(images, **options)
    states = [seen_in(old), seen_in(new)]
    with folder_in_memory() as root, folder_in_memory() as other, one_row_a_shard():
        restore(root, old)
        disk, in_shards = Disk(root), {}
        with disk.recording():
            fill(root, images, added=lambda content: in_shards.update({content: len(disk.log)}), **options)
        assert tree(root) == new
        for step in {*range(list(SCENARIOS).index(scenario) % EVERY, len(disk.log), EVERY), len(disk.log)}:
            for seed in range(2):
                disk.after_a_cut(step, np.random.default_rng([step, seed]), other)
                assert seen(other) in states[step == len(disk.log) :], (step, seed)
                computed = fill(other, images, **options)
                assert not [content for content in computed if in_shards[content] <= step], (step, seed)
                assert tree(other) == new, (step, seed)


def test_a_power_cut_in_a_run_after_a_failed_one_loses_no_shard():
    """The second run finds files that the first has written but not synced."""
    new = fresh()
    with folder_in_memory() as root, folder_in_memory() as other, one_row_a_shard():
        for number in range(1, 30, 1 + EVERY // 2):
            restore(root, None)
            disk, in_shards = Disk(root), {}
            with disk.recording():
                with suppress(Killed), failing_at(number, Killed, for_good=True):
                    fill(root)
                fill(root, added=lambda content: in_shards.update({content: len(disk.log)}))  # noqa: B023
            for step in range(min(in_shards.values(), default=0) + number % 5, len(disk.log), 5 * (1 + EVERY // 3)):
                disk.after_a_cut(step, np.random.default_rng([number, step]), other)
                assert seen(other) in ({}, seen(root)), (number, step)
                computed = fill(other)
                assert not [of for of in computed if in_shards.get(of, 0) <= step and of in in_shards], (number, step)
                assert tree(other) == new, (number, step)


def test_imported_features_survive_a_power_cut_once_it_has_returned():
    with folder_in_memory() as root, folder_in_memory() as other:
        disk = Disk(root)
        with disk.recording():
            catsdogs.import_features(["cat.1"], None, views={"224": np.ones((1, 2048), np.float32)}, artifacts=root)
        for seed in range(20):
            disk.after_a_cut(len(disk.log), np.random.default_rng(seed), other)
            assert seen(other) == seen(root)


def test_the_disk_of_these_tests_loses_what_is_not_synced_and_nothing_else():
    """The simulated disk loses exactly what is not synced."""
    with folder_in_memory() as root, folder_in_memory() as other:
        disk = Disk(root)
        with disk.recording():
            write_atomic(root / "features" / "a.json", b"whole")
        left = set()
        for step, seed in itertools.product(range(len(disk.log) + 1), range(200)):
            disk.after_a_cut(step, np.random.default_rng([step, seed]), other)
            left.add(frozenset(tree(other).items()))
        assert left == {
            frozenset(),
            frozenset({("a.json.new", b"")}),
            frozenset({("a.json.new", b"wh")}),
            frozenset({("a.json.new", b"whole")}),
            frozenset({("a.json", b"whole")}),
        }


# A disk that is really full


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 700 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(folder)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_disk_space_is_checked_before_the_first_row(small_disk):
    features = np.random.default_rng(0).random((200, 2048)).astype(np.float32)
    with pytest.raises(
        CatsDogsError, match=r"need 3,4\d\d,\d\d\d more bytes on the disk of .*, but only \d+,\d+ are free\. Free"
    ):
        catsdogs.import_features(
            [f"cat.{n}" for n in range(200)], None, views={"224": features}, artifacts=small_disk / "a"
        )
    assert not (small_disk / "a/features").exists()
    catsdogs.import_features(["cat.1"], None, views={"224": features[:1]}, artifacts=small_disk / "a")


def test_a_full_disk_is_one_line_and_with_space_the_run_continues(small_disk):
    ballast, new = small_disk / "ballast", fresh()
    ended_well = []
    for room in range(0, 400_000, 20_000):
        shutil.rmtree(small_disk / "features", ignore_errors=True)
        raised = None
        try:
            with write_lock(small_disk, FEATURES), open_writer(small_disk) as writer:
                with suppress(OSError), ballast.open("wb") as file:  # after room was looked for
                    file.write(bytes(max(0, shutil.disk_usage(small_disk).free - room)))
                list(add_missing(writer))
                assemble(writer)
        except CatsDogsError as error:
            raised = str(error)
            assert "No space left on device" in raised
            assert len(raised.splitlines()) == 1
        ended_well.append(raised is None)
        assert seen(small_disk) in ({}, seen_in(new))
        ballast.unlink()
        fill(small_disk)
        assert tree(small_disk) == new
    assert ended_well == sorted(ended_well)
    assert 5 < ended_well.count(False) < len(ended_well)


def test_on_a_full_disk_the_old_submission_is_kept(small_disk):
    generator = np.random.default_rng(0)
    for split, labels in (("train", np.arange(20) % 2), ("test", None)):
        ids = [f"{('cat', 'dog')[n % 2]}.{n}" for n in range(20)]
        features = generator.normal(size=(6 if split == "test" else 20, 2048)).astype(np.float32)
        catsdogs.import_features(
            ids[: len(features)], labels, views={"224": features}, artifacts=small_disk, split=split
        )
    catsdogs.train(small_disk)
    catsdogs.submit(small_disk)
    before = (small_disk / "submission.csv").read_bytes()
    with suppress(OSError), (small_disk / "ballast").open("wb") as file:
        file.write(bytes(1_000_000))
    for command in (lambda: catsdogs.submit(small_disk, clip=0.1), lambda: catsdogs.train(small_disk)):
        with pytest.raises(
            CatsDogsError, match=r"\.(csv|npz|json|joblib) cannot be written \(No space left on device\)"
        ):
            command()
    assert (small_disk / "submission.csv").read_bytes() == before
    assert not list(small_disk.rglob("*.new"))
    (small_disk / "ballast").unlink()
    assert catsdogs.submit(small_disk, clip=0.1).clip == 0.1


def test_a_file_size_limit_is_one_line_and_without_it_the_run_continues(
    tmp_path, pictures, write_folder, tiny_backbone
):
    data = write_folder(tmp_path / "data", pictures)
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)); {IN_PROCESS}"
    arguments = ["extract", data, "--artifacts", tmp_path / "artifacts", "--weights", tiny_backbone]
    done = process(*arguments, program=("-c", code))
    assert done.returncode == 1
    warning, said = done.stderr.splitlines(keepends=True)  # there are three cats
    assert warning.startswith("warning: no head can be trained on these images")
    assert said.startswith(f"error: {tmp_path / 'artifacts/features/shards'}")
    assert said.endswith(
        ".npy cannot be written (File too large). "
        "Free disk space or fix the problem, and rerun: finished work is kept.\n"
    )
    assert catsdogs.extract(data, artifacts=tmp_path / "artifacts", weights=str(tiny_backbone)).computed == 12


# A failing source


@pytest.mark.parametrize("error", [failed, MemoryError])
def test_a_disk_that_fails_while_images_are_read_loses_no_row(
    tmp_path, pictures, write_folder, tiny_backbone, monkeypatch, error
):
    data, artifacts = write_folder(tmp_path / "data", pictures), tmp_path / "artifacts"
    catsdogs.extract(data, artifacts=artifacts, weights=str(tiny_backbone))
    before = tree(artifacts)
    kept = os.fdopen

    def fdopen(descriptor, *arguments):
        if "test/" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            os.close(descriptor)
            raise error()
        return kept(descriptor, *arguments)

    if not Path("/proc/self/fd").exists():
        pytest.skip("only Linux says which file a descriptor is of")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", fdopen)
        with pytest.raises(CatsDogsError, match=r"test/1\.jpg.*finished work is kept"):
            catsdogs.extract(data, artifacts=artifacts)
    assert tree(artifacts) == before
    assert catsdogs.extract(data, artifacts=artifacts).computed == 0


def test_on_a_full_disk_prepared_images_are_intact_and_it_continues(small_disk, tmp_path, draw, encode, write_folder):
    images = {f"{kind}.{n}.png": encode(draw(n)) for kind in ("cat", "dog") for n in range(5)}
    data = write_folder(tmp_path / "data", images)
    catsdogs.prepare(data, tmp_path / "fresh")
    size = sum(path.stat().st_size for path in (tmp_path / "fresh").rglob("*.png"))
    (small_disk / "ballast").write_bytes(bytes(shutil.disk_usage(small_disk).free - size // 2))
    with pytest.raises(CatsDogsError, match=r"\.png cannot be written \(No space left on device\).* work is kept"):
        catsdogs.prepare(data, small_disk / "out")
    there = sorted(small_disk.rglob("*.png"))
    assert 0 < len(there) < 10
    for path in there:
        assert path.read_bytes() == (tmp_path / "fresh" / path.relative_to(small_disk / "out")).read_bytes()
    assert not list(small_disk.rglob("*.new"))
    (small_disk / "ballast").unlink()
    assert catsdogs.prepare(data, small_disk / "out").written == 10 - len(there)
