"""A fault at every call that writes, a power cut behind each, a disk that is full: the old cache or the new one."""

import builtins
import errno
import io
import itertools
import os
import shutil
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from support.cache import (
    EVERY,
    IMAGES,
    TRAIN,
    features_of,
    fill,
    folder_in_memory,
    fresh,
    load_part,
    open_writer,
    put_missing,
    restore,
    tree,
)
from support.program import IN_PROCESS, process

import catsdogs
from catsdogs import CatsDogsError, load_features
from catsdogs.locks import FEATURES, write_lock
from catsdogs.storage import write_atomic

CHANGED = IMAGES | {"train": {"cat.1": b"x", "cat.10": b"b", "dog.20": b"!y", "dog.3": b"c"}}
SCENARIOS = {
    "from nothing": (None, IMAGES),
    "one row more": (IMAGES, IMAGES | {"train": TRAIN | {"dog.20": b"new"}}),
    "other rows": (IMAGES, CHANGED),
}


def whole_splits(content):
    """Return {split: digest} of a whole cache."""
    with folder_in_memory() as root:
        restore(root, content)
        return {split: load_features(root, split).digest for split in ("train", "test")} if content else {}


def must_be_old_or_new(root, allowed, contents):
    """Load what a run left: each split whole, as it was or as it was to be, or refused; and no row of neither."""
    for split in ("train", "test"):
        try:
            found = load_features(root, split)
        except CatsDogsError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017 - refusing is right as well
        else:
            assert found.digest in allowed[split]
        try:
            part = load_part(root, split)
        except CatsDogsError:
            continue
        for name, row in part.items():
            images = [of_split[split][name] for of_split in contents if name in of_split[split]]
            if isinstance(row, str):
                assert row in [image[1:].decode() for image in images if image[:1] == b"!"]
            else:
                assert row.tobytes() in [features_of(image).tobytes() for image in images if image[:1] != b"!"]


class Outlet:
    """A file opened for writing, unbuffered, whose writes pass through `os.write`."""

    def __init__(self, path):
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._descriptor)

    def write(self, content):
        content = memoryview(content)
        while content:
            content = content[os.write(self._descriptor, content) :]

    def flush(self):
        """Nothing is buffered."""

    def truncate(self, size):
        os.ftruncate(self._descriptor, size)

    def fileno(self):
        return self._descriptor


def open_unbuffered(path, mode="r", *arguments, **named):
    return Outlet(path) if mode == "wb" else builtins.open(path, mode, *arguments, **named)  # noqa: PTH123


WRITING = ("write", "pwrite", "ftruncate", "fsync", "replace", "unlink", "mkdir", "rmdir")


@contextmanager
def failing_at(number, error, *, for_good):
    """Have the `number`-th call that writes fail, or that and all after it; yield the names of those called."""
    called, kept = [], {name: getattr(os, name) for name in WRITING}

    def breakable(name):
        def call(*arguments, **named):
            called.append(name)
            if len(called) == number or (for_good and len(called) > number):
                if name in ("write", "pwrite"):  # half of it has come through
                    kept[name](arguments[0], arguments[1][: len(arguments[1]) // 2], *arguments[2:])
                raise error()
            return kept[name](*arguments, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", open_unbuffered)
        for name in WRITING:
            patch.setattr(os, name, breakable(name))
        yield called


def full():
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def failed():
    return OSError(errno.EIO, os.strerror(errno.EIO))


FAULTS = {"full": (full, True), "full once": (full, False), "failed": (failed, False), "memory": (MemoryError, False)}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_fault_at_any_write_is_one_line_and_leaves_the_old_cache_or_the_new(scenario, fault):
    """Which of the calls, `EVERY` says."""
    error, for_good = FAULTS[fault]
    before, images = SCENARIOS[scenario]
    old, new = before and fresh(before), fresh(images)
    allowed = {split: {whole_splits(state).get(split) for state in (old, new)} for split in ("train", "test")}
    contents = [images] if before is None else [before, images]
    with folder_in_memory() as root:
        first = 1 + (len(FAULTS) * list(SCENARIOS).index(scenario) + list(FAULTS).index(fault)) % EVERY
        for number in itertools.count(first, EVERY):
            restore(root, old)
            with failing_at(number, error, for_good=for_good) as called:
                raised = None
                try:
                    with write_lock(root, FEATURES):
                        fill(root, images, prune=True)
                except (CatsDogsError, MemoryError) as ended:
                    raised = ended
            assert isinstance(raised, MemoryError) == (raised is not None and error is MemoryError)
            assert len(str(raised).splitlines()) <= 1
            must_be_old_or_new(root, allowed, contents)
            fill(root, images, prune=True)
            assert tree(root) == new, (number, called[number - 1])
            if len(called) < number:
                break
    assert len(called) > 30


class Disk:
    """What is done to the files below a folder, and what a power cut may leave of it.

    What was synced is there. Of what was written to a file since then, any part may be, in any order, half a write
    too; of what was done to a folder's entries, the first so many, as journalling file systems have it.
    """

    def __init__(self, root):
        self.root, self.log = root, []
        self.start = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        self.folders = {root, *(path for path in root.rglob("*") if path.is_dir())}
        self._file_at = {path: number for number, path in enumerate(self.start)}
        self._opened = {}

    @contextmanager
    def recording(self):
        kept = {name: getattr(os, name) for name in (*WRITING, "open", "close")}

        def opened(path, flags, *arguments, **named):
            descriptor, path = kept["open"](path, flags, *arguments, **named), Path(path)
            if path == self.root or self.root in path.parents:
                if flags & os.O_CREAT and path not in self._file_at:
                    self._file_at[path] = len(self.log) + 1000
                    self._note("entry", path.parent, ("create", path, self._file_at[path]))
                if flags & os.O_TRUNC:
                    self._note("data", self._file_at[path], ("size", 0))
                self._opened[descriptor] = self._file_at.get(path, path)
            return descriptor

        def closed(descriptor):
            self._opened.pop(descriptor, None)
            kept["close"](descriptor)

        def written(descriptor, content):
            if descriptor in self._opened:
                position = os.lseek(descriptor, 0, os.SEEK_CUR)
                self._note("data", self._opened[descriptor], ("write", position, bytes(content)))
            return kept["write"](descriptor, content)

        def row_written(descriptor, content, position):
            self._note("data", self._opened[descriptor], ("write", position, bytes(content)))
            return kept["pwrite"](descriptor, content, position)

        def resized(descriptor, size):
            self._note("data", self._opened[descriptor], ("size", size))
            kept["ftruncate"](descriptor, size)

        def synced(descriptor):
            self._note("sync", self._opened[descriptor], None)

        def moved(old, new):
            old, new = Path(old), Path(new)
            kept["replace"](old, new)
            self._note("entry", new.parent, ("move", old, new))
            self._file_at[new] = self._file_at.pop(old)

        def removed(path):
            kept["unlink"](path)
            self._note("entry", Path(path).parent, ("remove", Path(path)))
            del self._file_at[Path(path)]

        def made(path, *arguments):
            kept["mkdir"](path, *arguments)
            self._note("entry", Path(path).parent, ("make", Path(path)))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(io, "open", open_unbuffered)
            for name, call in (
                *(("open", opened), ("close", closed), ("write", written), ("pwrite", row_written)),
                *(("ftruncate", resized), ("fsync", synced), ("replace", moved), ("unlink", removed), ("mkdir", made)),
            ):
                patch.setattr(os, name, call)
            yield

    def _note(self, kind, about, what):
        self.log.append((kind, about, what))

    def after_a_cut(self, step, random, root):
        """Write below `root` what may be there after the first `step` entries of the log."""
        log = self.log[:step]
        synced = {about: place for place, (kind, about, _) in enumerate(log) if kind == "sync"}
        contents = {number: bytearray(self.start[path]) for path, number in self._started()}
        entries = dict(self._started())
        folders = set(self.folders)
        stopped = {}
        for place, (kind, about, what) in enumerate(log):
            durable = place < synced.get(about, -1)
            if kind == "data":
                content = contents.setdefault(about, bytearray())
                if durable or random.random() < 0.5:
                    _apply(content, what, whole=durable or random.random() < 0.8)
            elif kind == "entry":
                if (not durable and about not in stopped) or (not durable and not stopped[about]):
                    stopped[about] = random.random() < 0.3
                if durable or not stopped[about]:
                    _enter(entries, folders, what)
        restore(root, None)
        for folder in sorted(folders):
            (root / folder.relative_to(self.root)).mkdir(exist_ok=True)
        for path, number in entries.items():
            if path.parent in folders:
                (root / path.relative_to(self.root)).write_bytes(contents.get(number, b""))

    def _started(self):
        return ((path, number) for number, path in enumerate(self.start))


def _apply(content, what, *, whole):
    kind, position, *written = what
    if kind == "size":
        del content[position:]
        content.extend(bytes(position - len(content)))
    else:
        part = written[0] if whole else written[0][: len(written[0]) // 2]
        content.extend(bytes(max(0, position - len(content))))
        content[position : position + len(part)] = part


def _enter(entries, folders, what):
    kind, path, *other = what
    if kind == "create":
        entries[path] = other[0]
    elif kind == "move" and path in entries:
        entries[other[0]] = entries.pop(path)
    elif kind == "remove":
        entries.pop(path, None)
    elif kind == "make":
        folders.add(path)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_power_cut_leaves_the_old_cache_or_the_new_and_every_synced_row(scenario):
    """Which of the calls, `EVERY` says."""
    before, images = SCENARIOS[scenario]
    old, new = before and fresh(before), fresh(images)
    allowed = {split: {whole_splits(state).get(split) for state in (old, new)} for split in ("train", "test")}
    contents = [images] if before is None else [before, images]
    with folder_in_memory() as root, folder_in_memory() as other:
        restore(root, old)
        disk = Disk(root)
        synced_rows = {}
        with disk.recording(), open_writer(root, images, prune=True) as writer:
            for count, place in enumerate(put_missing(writer, images)):
                if count % 2 == 0:
                    writer.sync()
                    synced_rows[len(disk.log)] = place
        assert tree(root) == new
        assert synced_rows
        for step in {*range(list(SCENARIOS).index(scenario) % EVERY, len(disk.log), EVERY), len(disk.log)}:
            for seed in range(2):
                disk.after_a_cut(step, np.random.default_rng([step, seed]), other)
                must_be_old_or_new(other, allowed, contents)
                computed = fill(other, images, prune=True)
                kept = {place for at, place in synced_rows.items() if at <= step}
                lost = {(split, name) for split, name in kept & {*computed} if images[split][name][:1] != b"!"}
                assert not lost, (step, seed, lost)
                assert tree(other) == new, (step, seed)


def test_the_disk_of_these_tests_loses_what_is_not_synced_and_nothing_else():
    """The disk above is one: without syncs it would lose what is written, and with all of it nothing."""
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


def test_room_is_looked_for_before_the_first_row(small_disk):
    features = np.random.default_rng(0).random((200, 2048)).astype(np.float32)
    with pytest.raises(
        CatsDogsError, match=r"need 1,7\d\d,\d\d\d bytes more, and where .* lies \d+,\d+ are free\. Make"
    ):
        catsdogs.import_features([f"cat.{n}" for n in range(200)], None, {"224": features}, artifacts=small_disk / "a")
    assert not (small_disk / "a/features").exists()
    catsdogs.import_features(["cat.1"], None, {"224": features[:1]}, artifacts=small_disk / "a")


def test_a_disk_that_fills_up_is_one_line_and_with_room_the_run_goes_on(small_disk):
    ballast, new = small_disk / "ballast", fresh()
    ended_well = []
    for room in range(0, 240_000, 12_000):
        shutil.rmtree(small_disk / "features", ignore_errors=True)
        raised = None
        try:
            with write_lock(small_disk, FEATURES), open_writer(small_disk) as writer:
                with suppress(OSError), ballast.open("wb") as file:  # after room was looked for
                    file.write(bytes(max(0, shutil.disk_usage(small_disk).free - room)))
                list(put_missing(writer))
        except CatsDogsError as error:
            raised = str(error)
            assert "No space left on device" in raised
            assert len(raised.splitlines()) == 1
        ended_well.append(raised is None)
        ballast.unlink()
        fill(small_disk)
        assert tree(small_disk) == new
    assert ended_well == sorted(ended_well)
    assert 5 < ended_well.count(False) < len(ended_well)


def test_where_the_disk_is_full_the_submission_that_is_there_stays(small_disk):
    generator = np.random.default_rng(0)
    for split, labels in (("train", np.arange(20) % 2), ("test", None)):
        ids = [f"{('cat', 'dog')[n % 2]}.{n}" for n in range(20)]
        features = generator.normal(size=(6 if split == "test" else 20, 2048)).astype(np.float32)
        catsdogs.import_features(ids[: len(features)], labels, {"224": features}, artifacts=small_disk, split=split)
    catsdogs.train(small_disk)
    catsdogs.submit(small_disk)
    before = (small_disk / "submission.csv").read_bytes()
    with suppress(OSError), (small_disk / "ballast").open("wb") as file:
        file.write(bytes(1_000_000))
    for command in (lambda: catsdogs.submit(small_disk, clip=0.1), lambda: catsdogs.train(small_disk)):
        with pytest.raises(CatsDogsError, match=r"cannot be written \(No space left on device\)"):
            command()
    assert (small_disk / "submission.csv").read_bytes() == before
    assert not list(small_disk.rglob("*.new"))
    (small_disk / "ballast").unlink()
    assert catsdogs.submit(small_disk, clip=0.1).clip == 0.1


def test_a_limit_on_the_size_of_files_is_one_line_and_without_it_it_goes_on(
    tmp_path, pictures, write_folder, tiny_backbone
):
    data = write_folder(tmp_path / "data", pictures)
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)); {IN_PROCESS}"
    arguments = ["extract", data, "--artifacts", tmp_path / "artifacts", "--weights", tiny_backbone]
    done = process(*arguments, program=("-c", code))
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {tmp_path / 'artifacts'} cannot be written (File too large). "
        "What is done is kept: make room or mend that, and run the same command again.\n"
    )
    assert catsdogs.extract(data, artifacts=tmp_path / "artifacts").computed == 12


# A failing source


@pytest.mark.parametrize("error", [failed, MemoryError])
def test_a_disk_that_fails_while_images_are_read_costs_no_row_that_was_there(
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
        with pytest.raises(CatsDogsError, match=r"test/1\.jpg.*What is done is kept"):
            catsdogs.extract(data, artifacts=artifacts)
    assert tree(artifacts) == before
    assert catsdogs.extract(data, artifacts=artifacts).computed == 0


def test_where_the_disk_is_full_what_is_prepared_is_whole_and_it_goes_on(
    small_disk, tmp_path, draw, encode, write_folder
):
    images = {f"{kind}.{n}.png": encode(draw(n)) for kind in ("cat", "dog") for n in range(5)}
    data = write_folder(tmp_path / "data", images)
    catsdogs.prepare(data, tmp_path / "fresh")
    size = sum(path.stat().st_size for path in (tmp_path / "fresh").rglob("*.png"))
    (small_disk / "ballast").write_bytes(bytes(shutil.disk_usage(small_disk).free - size // 2))
    with pytest.raises(CatsDogsError, match=r"cannot be written \(No space left on device\)\. What is done is kept"):
        catsdogs.prepare(data, small_disk / "out")
    there = sorted(small_disk.rglob("*.png"))
    assert 0 < len(there) < 10
    for path in there:
        assert path.read_bytes() == (tmp_path / "fresh" / path.relative_to(small_disk / "out")).read_bytes()
    assert not list(small_disk.rglob("*.new"))
    (small_disk / "ballast").unlink()
    assert catsdogs.prepare(data, small_disk / "out").written == 10 - len(there)
