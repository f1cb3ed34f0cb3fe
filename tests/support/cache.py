"""Fill caches of made-up features, stop doing so at any moment, and look at what is there."""

import itertools
import os
import shutil
import signal
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from catsdogs.cache import CacheWriter, Provenance, digest, load_features, read_manifest, rows
from catsdogs.errors import CatsDogsError
from catsdogs.locks import FEATURES, write_lock

PROVENANCE = Provenance("tiny.keras", "ab" * 32, "file:1", "squashed", "float32", "none", {"numpy": "2"})
VIEWS = ("224", "224m")
IDS = ("cat.1", "cat.2", "cat.10", "dog.3", "dog.20")
"""In natural order."""

TRAIN = {"cat.1": b"a", "cat.2": b"!broken", "cat.10": b"b", "dog.3": b"c"}
IMAGES = {"train": TRAIN, "test": {"cat.1": b"d", "dog.20": b"!odd, too"}}
"""By split and id, what lies in an image's file; behind a "!", why it is unreadable."""


EVERY = 1 if os.environ.get("CI") else 7
"""Of the calls that a fault, a kill or a power cut may hit, each in CI, and otherwise each seventh from some offset on.

The offsets differ from scenario to scenario, so that calls of every kind are hit."""


class StopError(Exception):
    """Something that ends a run in its midst."""


def features_of(content, views=VIEWS):
    seeds = ([*content, *view.encode()] for view in views)
    return np.stack([np.random.default_rng(seed).random(2048, np.float32) for seed in seeds])


def labels_of(ids):
    return np.array([name.startswith("dog") for name in ids], np.int8)


def open_writer(root, images=IMAGES, *, labels=labels_of, provenance=PROVENANCE, views=VIEWS, prune=False):
    ids = {split: sorted(of_split, key=IDS.index) for split, of_split in images.items()}
    wanted = {split: (names, labels(names)) for split, names in ids.items()}
    return CacheWriter(root / "features", provenance, views, wanted, prune=prune)


def put_missing(writer, images=IMAGES, *, views=VIEWS, order=lambda rows: rows):
    """Do what a run does; yield (split, id) after each row that was not there."""
    places, known = [(split, name) for split in images for name in sorted(images[split], key=IDS.index)], writer.known()
    for split, name in order(places):
        position, content = places.index((split, name)), images[split][name]
        missing = known.missing_views(position, digest(content))
        if not missing:
            continue
        if content.startswith(b"!"):
            writer.put_unreadable(position, digest(content), content[1:].decode())
        else:
            features = dict(zip(views, features_of(content, views), strict=True))
            writer.put(position, digest(content), {view: features[view] for view in missing})
        yield split, name


def fill(root, images=IMAGES, *, stop=None, order=lambda rows: rows, views=VIEWS, **options):
    """Fill a cache, up to an error after `stop` rows; return what was not there yet."""
    put = []
    with suppress(StopError), open_writer(root, images, views=views, **options) as writer:
        for place in put_missing(writer, images, views=views, order=order):
            put.append(place)
            if len(put) == stop:
                raise StopError
    return put


def abandon(root, images, puts, **options):
    """Leave a cache as a kill leaves it after `puts` rows: what was written is there, and nothing is closed well."""
    writer = open_writer(root, images, **options)
    put = list(itertools.islice(put_missing(writer, images), puts))
    for split in writer.splits.values():
        for file in split._open.values():  # the system closes a dead process's files
            file.close()
    return put


def tree(root):
    """Return {path: bytes} of a cache."""
    folder = root / "features"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def restore(root, content):
    """Make `root` hold these files of a cache, and no others."""
    shutil.rmtree(root / "features", ignore_errors=True)
    for name, of_file in (content or {}).items():
        (root / "features" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "features" / name).write_bytes(of_file)


def times(root):
    return {path: path.stat().st_mtime_ns for path in (root / "features").rglob("*")}


@contextmanager
def folder_in_memory():
    """Give a folder in which fsync, the slowest step by far, costs nothing; the bytes are the same."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def fresh(images=IMAGES, **options):
    with folder_in_memory() as root:
        fill(root, images, **options)
        return tree(root)


def flip(path, position, bit=0):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def load_part(root, split):
    """Return {id: features, or why there are none} of the valid rows, whether the split is complete or not."""
    folder = root / "features"
    manifest = read_manifest(folder)
    if manifest is None or split not in manifest.splits:
        return {}
    stored = rows.read(folder / split, manifest.splits[split], manifest.views)
    if stored.damaged:
        raise CatsDogsError(f"{stored.damaged[0]} is damaged", "")
    status = rows.check(stored, manifest.provenance)
    features = np.concatenate(list(stored.features.values()), axis=1)
    found = zip(stored.ids.tolist(), status.tolist(), features, strict=True)
    return {name: (stored.reasons[name] if of == rows.UNREADABLE else row) for name, of, row in found if of}


def kill_at_every_step(root):
    """Kill a run at its system calls (see `EVERY`), one at a time, writes half done, and let another go on."""
    changed = {"train": {"cat.1": b"x", "cat.10": b"b", "dog.20": b"!y"}}
    scenarios = [
        ({}, IMAGES, {}),
        (IMAGES, IMAGES | {"train": TRAIN | {"cat.1": b"x"}}, {}),
        (IMAGES, IMAGES | changed, {"prune": True}),
        (IMAGES, changed, {"prune": True, "views": ("224",)}),
    ]
    for number, (before, images, options) in enumerate(scenarios):
        expected = fresh(images, **options)
        for step in itertools.count(1 + number % EVERY, EVERY):
            folder = root / f"{number}.{step}"
            if before:
                fill(folder, before)
            child = os.fork()
            if not child:
                fill_until_killed(folder, images, step, **options)
                os._exit(0)
            ended = not os.waitpid(child, 0)[1]
            written = (folder / "log").read_text().split()
            with suppress(CatsDogsError):  # not complete, or nothing there; and it must not be in the writer's way
                load_features(folder)
            put = [name for split, name in fill(folder, images, **options) if split == "train"]
            unreadable = {name for name, content in images["train"].items() if content.startswith(b"!")}
            assert not ({*put} & {*written}) - unreadable, (number, step)
            if "views" not in options:
                same = {
                    name for name, content in before.get("train", {}).items() if images["train"].get(name) == content
                }
                assert not ({*put} & same) - unreadable, (number, step)
            assert tree(folder) == expected, (number, step)
            if ended:
                print("killed at", step - 1)
                break


def fill_until_killed(folder, images, step, **options):
    steps = iter(range(1, step))

    def breakable(call):
        def broken(*arguments, **named):
            if next(steps, None) is None:
                if call is pwrite:
                    call(arguments[0], arguments[1][: len(arguments[1]) // 2], arguments[2])
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        return broken

    pwrite = os.pwrite
    folder.mkdir(exist_ok=True)
    with (folder / "log").open("w", buffering=1) as log:
        for name in ("pwrite", "fsync", "replace", "unlink", "rmdir"):
            setattr(os, name, breakable(getattr(os, name)))
        with open_writer(folder, images, **options) as writer:
            for split, name in put_missing(writer, images, views=options.get("views", VIEWS)):
                if split == "train":
                    log.write(f"{name}\n")


def many(count=200):
    return {"train": {f"cat.{number}": b"%d" % number for number in range(count)}}


def fill_slowly(root):
    """Say after each row how many were written."""
    ids = list(many()["train"])
    with write_lock(root, FEATURES):
        writer = CacheWriter(root / "features", PROVENANCE, ("224",), {"train": (ids, labels_of(ids))})
        known = writer.known()
        for row, content in enumerate(many()["train"].values()):
            if known.missing_views(row, digest(content)):
                writer.put(row, digest(content), {"224": features_of(content, ("224",))[0]})
                print(row, flush=True)
                time.sleep(0.002)
        writer.close()


def write_again_and_again(root):
    """Fill a cache with two sets of images in turn, for as long as nobody ends it."""
    other = IMAGES | {"train": TRAIN | {"cat.1": b"x", "dog.20": b"y"}}
    for images in itertools.cycle([IMAGES, other]):
        with write_lock(root, FEATURES):
            fill(root, images, prune=True)
        print("filled", flush=True)
