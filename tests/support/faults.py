"""Let calls that write fail, end there as if killed, and cut the power behind any of them."""

import builtins
import io
import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

WRITING = ("write", "fsync", "replace", "unlink", "mkdir", "rmdir")
"""What a cache is written with, all in `os`."""


class Killed(BaseException):
    """The end of a run that a kill ends: from then on none of its calls does anything, cleaning up included."""


class Outlet:
    """A file opened for writing, unbuffered, whose writes pass through `os.write`."""

    def __init__(self, path):
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._descriptor)

    def write(self, content):
        content = memoryview(bytes(content))
        while content:
            content = content[os.write(self._descriptor, content) :]

    def flush(self):
        """Nothing is buffered."""

    def fileno(self):
        return self._descriptor


def open_unbuffered(path, mode="r", *arguments, **named):
    return Outlet(path) if mode == "wb" else builtins.open(path, mode, *arguments, **named)  # noqa: PTH123


@contextmanager
def intercepting(before):
    """Call ``before(name, call, arguments)`` before each call that writes."""
    kept = {name: getattr(os, name) for name in WRITING}

    def intercepted(name):
        def call(*arguments, **named):
            before(name, kept[name], arguments)
            return kept[name](*arguments, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", open_unbuffered)
        for name in WRITING:
            patch.setattr(os, name, intercepted(name))
        yield


@contextmanager
def failing_at(when, error, *, for_good=False):
    """Have the call that writes of that number, or the first of which ``when(name, *arguments)``, fail; half of a write
    comes through. Then all after it fail, where it is for good. Yield the names of those called."""
    called, failed = [], []

    def before(name, call, arguments):
        called.append(name)
        first = not failed and (when(name, *arguments) if callable(when) else len(called) == when)
        if first or (failed and for_good):
            failed.append(name)
            if name == "write":
                call(arguments[0], arguments[1][: len(arguments[1]) // 2])
            raise error()

    with intercepting(before):
        yield called


@contextmanager
def killed_before(name, ending):
    """End what is within before the first call of that name on a path that ends so."""

    def when(called, *arguments):
        return called == name and str(arguments[0]).endswith(ending)

    ended = False
    with failing_at(when, Killed, for_good=True):
        try:
            yield
        except Killed:
            ended = True
    assert ended, f"there was no {name} of {ending}"


class Disk:
    """What is done to the files below a folder, and what a power cut may leave of it.

    What was synced is there. Of what was written to a file since then, any part may be, in any order, half a write
    too; of what was done to a folder's entries, the first so many, as journalling file systems have it. A folder whose
    own entry is lost is lost with all that is in it, synced or not.
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

        def unmade(path):
            kept["rmdir"](path)
            self._note("entry", Path(path).parent, ("unmake", Path(path)))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(io, "open", open_unbuffered)
            for name, call in (
                *(("open", opened), ("close", closed), ("write", written), ("fsync", synced)),
                *(("replace", moved), ("unlink", removed), ("mkdir", made), ("rmdir", unmade)),
            ):
                patch.setattr(os, name, call)
            yield

    def _note(self, kind, about, what):
        self.log.append((kind, about, what))

    def after_a_cut(self, step, random, root):
        """Write below `root` what may be there after the first `step` entries of the log."""
        log = self.log[:step]
        synced = {about: place for place, (kind, about, _) in enumerate(log) if kind == "sync"}
        contents = {number: bytearray(content) for number, content in enumerate(self.start.values())}
        entries = {path: number for number, path in enumerate(self.start)}
        folders, stopped = set(self.folders), {}
        for place, (kind, about, what) in enumerate(log):
            durable = place < synced.get(about, -1)
            if kind == "data":
                content = contents.setdefault(about, bytearray())
                if durable or random.random() < 0.5:
                    _apply(content, what, whole=durable or random.random() < 0.8)
            elif kind == "entry":
                if not durable and not stopped.get(about):
                    stopped[about] = random.random() < 0.3
                if durable or not stopped[about]:
                    _enter(entries, folders, what)
        self._write(root, entries, contents, folders)

    def _write(self, root, entries, contents, folders):
        for path in root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for folder in sorted(folders - {self.root}):
            with suppress(FileNotFoundError):  # the one above is lost
                (root / folder.relative_to(self.root)).mkdir()
        for path, number in entries.items():
            with suppress(FileNotFoundError):
                (root / path.relative_to(self.root)).write_bytes(contents.get(number, b""))


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
    elif kind == "unmake":
        folders.discard(path)
