"""Fill caches of made-up features, stop doing so at any moment, and look at what is there."""

import itertools
import math
import os
import shutil
import signal
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest import mock

import numpy as np
from natsort import natsorted

from catsdogs.cache import Cache, CacheWriter, Manifest, Provenance, digest, no_features, shards
from catsdogs.images.facts import FACTS
from catsdogs.locks import FEATURES, write_lock

from .faults import intercepting

PROVENANCE = Provenance("tiny.keras", "ab" * 32, "file:1", "squashed", "float32", "none", {"numpy": "2"})
OTHER = Provenance("other.keras", "cd" * 32, "file:2", "squashed", "float32", "none", {"numpy": "2"})
VIEWS = ("224", "224m")
IDS = ("cat.1", "cat.2", "cat.10", "dog.3", "dog.20")
"""In natural order."""

TRAIN = {"cat.1": b"a", "cat.2": b"!broken", "cat.10": b"b", "dog.3": b"c"}
IMAGES = {"train": TRAIN, "test": {"cat.1": b"d", "dog.20": b"!odd, too"}}
"""By split and id, what lies in an image's file; behind "!" why it is no image, behind "?" why it has no bytes."""

CHANGED = {"train": {"cat.1": b"x", "cat.10": b"b", "dog.20": b"!y", "dog.3": b"c"}, "test": {"cat.1": b"c"}}
MOVED = {"train": {"cat.1": b"c", "dog.3": b"a", "cat.10": b"d"}, "test": {"cat.1": b"!broken", "dog.20": b"b"}}
"""Of what is in `IMAGES`, but for one that is no image."""

EVERY = 1 if os.environ.get("CI") else 23
"""Of the calls that a fault, a kill or a power cut may hit, each in CI, otherwise every 23rd from some offset on.

The offsets differ from scenario to scenario, so that calls of every kind are hit."""


class StopError(Exception):
    """Something that ends a run in its midst."""


def features_of(content, views=VIEWS):
    seeds = ([*content, *view.encode()] for view in views)
    return np.stack([np.random.default_rng(seed).random(2048, np.float32) for seed in seeds])


def facts_of(content):
    return np.void(tuple(np.random.default_rng([*content]).random(len(FACTS))), FACTS)


def labels_of(split, ids):
    return np.array([name.startswith("dog") if split == "train" else -1 for name in ids], np.int8)


def in_order(images):
    """Return the content of each image, as the splits' ids are ordered."""
    return [of_split[name] for of_split in images.values() for name in natsorted(of_split)]


def open_writer(root, images=IMAGES, *, labels=labels_of, provenance=PROVENANCE, views=VIEWS, prune=False):
    ids = {split: natsorted(of_split) for split, of_split in images.items()}
    wanted = {split: (names, labels(split, names)) for split, names in ids.items()}
    return CacheWriter(root / "features", Manifest(provenance, views, {}), wanted, prune=prune)


def add_row(writer, image, features=None, facts=None, *, reason=""):
    """Add the row of one image by its digest; without features it is unreadable."""
    rows = {view: row[np.newaxis] for view, row in ({} if features is None else features).items()}
    columns = no_features(writer.manifest.views) if reason else rows
    writer.add_rows(image[np.newaxis], columns, None if facts is None else np.array([facts], FACTS), reason)


def add(writer, content, columns=(*VIEWS, "facts")):
    if content.startswith(b"!"):
        add_row(writer, digest(content), reason=content[1:].decode())
    else:
        views = tuple(column for column in columns if column != "facts")
        features = dict(zip(views, features_of(content, views), strict=True)) if views else {}
        add_row(writer, digest(content), features, facts_of(content) if "facts" in columns else None)


def add_missing(writer, images=IMAGES, *, order=lambda contents: contents):
    """Do what a run does; yield each content after its row was added, and what that lacked."""
    known = writer.known()
    for content in order([content for content in dict.fromkeys(in_order(images)) if not content.startswith(b"?")]):
        missing = known.missing.get(digest(content).tobytes(), known.columns)
        if missing:
            add(writer, content, missing)
            yield content, missing


def digests_of(images):
    digests = [bytes(16) if content.startswith(b"?") else digest(content).tobytes() for content in in_order(images)]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)


def assemble(writer, images=IMAGES):
    contents = enumerate(in_order(images))
    return writer.assemble(
        digests_of(images), {at: content[1:].decode() for at, content in contents if content.startswith(b"?")}
    )


def fill(root, images=IMAGES, *, stop=None, order=lambda contents: contents, added=lambda content: None, **options):
    """Fill a cache, up to an error after `stop` rows; return what was computed, and the columns of each."""
    computed = {}
    with suppress(StopError), open_writer(root, images, **options) as writer:
        writer.check_losses(lambda: digests_of(images))
        for content, missing in add_missing(writer, images, order=order):
            computed[content] = missing
            added(content)
            if len(computed) == stop:
                raise StopError
        assemble(writer, images)
    return computed


def one_row_a_shard():
    """Have each row in a shard of its own as soon as it is added."""
    return mock.patch.object(shards, "SHARD_SECONDS", 0)


def abandon(root, images, rows, **options):
    """Leave a cache as a kill leaves it when so many rows are in shards; return what these are of."""
    with one_row_a_shard():
        writer = open_writer(root, images, **options)
        return [content for content, _ in itertools.islice(add_missing(writer, images), rows)]


def tree(root):
    """Return {path: bytes} of a cache, without shards."""
    folder = root / "features"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and folder / "shards" not in path.parents
    }


def shards_of(root):
    return sorted((root / "features" / "shards").glob("*/*.npy"))


def seen(root):
    """Return what a reader finds: digest, features and facts of each split; anything damaged is an error."""
    cache = Cache(root / "features")
    loaded = {split: cache.load(split) for split in (cache.manifest.splits if cache.manifest else ())}
    return {split: (of.digest, of.features.tobytes(), of.facts.tobytes()) for split, of in loaded.items()}


def seen_in(content):
    """Return what a reader finds in a cache of these files."""
    with folder_in_memory() as root:
        restore(root, content)
        return seen(root)


def restore(root, content):
    """Make `root` hold these files of a cache, and no others."""
    shutil.rmtree(root / "features", ignore_errors=True)
    for name, of_file in (content or {}).items():
        (root / "features" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "features" / name).write_bytes(of_file)


def times(root):
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in (root / "features").rglob("*")}


@contextmanager
def folder_in_memory():
    """Give a folder in which fsync, the slowest step by far, costs nothing; the bytes are the same."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def fresh(images=IMAGES, **options):
    with folder_in_memory() as root:
        fill(root, images, **options)
        assert not (root / "features" / "shards").exists()
        return tree(root)


def flip(path, position, bit=0):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


WAITING = math.inf
"""How long a row may wait for its shard: for longer than a run takes."""

KILLS = (
    ({}, IMAGES, {}),
    (IMAGES, IMAGES | {"train": TRAIN | {"cat.1": b"x"}}, {}),
    (IMAGES, MOVED, {"prune": True}),
    (IMAGES, CHANGED, {"prune": True}),
    (IMAGES, {"train": CHANGED["train"]}, {"prune": True, "views": ("224",)}),
    (IMAGES, CHANGED, {"prune": True, "provenance": OTHER}),
    ({}, IMAGES, {}, WAITING),
    (IMAGES, CHANGED, {"prune": True}, WAITING),
)
"""What is there, what comes, how, and how long a row waits for its shard if at all."""


def kill_at_every_step(root):
    """Kill a run at its system calls (see `EVERY`), one at a time, writes half done, and let another go on."""
    for number, (before, images, options, *waiting) in enumerate(KILLS):
        if before:
            fill(root / "undisturbed", before)
        fill(root / "undisturbed", images, **options)
        expected = tree(root / "undisturbed")
        states = [seen_in(before and fresh(before)), seen_in(expected)]
        shutil.rmtree(root / "undisturbed")
        for step in itertools.count(1 + number % EVERY, EVERY):
            folder = root / f"{number}.{step}"
            if before:
                fill(folder, before)
            child = os.fork()
            if not child:
                fill_until_killed(folder, images, step, *waiting, **options)
                os._exit(0)
            ended = not os.waitpid(child, 0)[1]
            left = tree(folder)
            assert seen(folder) in states, (number, step)
            assert tree(folder) == left, (number, step)
            computed = fill(folder, images, **options)
            kept = [] if "provenance" in options else in_order(before)
            if not waiting:
                kept += [bytes.fromhex(line) for line in (folder / "log").read_text().split()]
            assert not {*computed} & {*kept}, (number, step)
            assert tree(folder) == expected, (number, step)
            assert not shards_of(folder), (number, step)
            if ended:
                print("killed at", step - 1)
                break


def fill_until_killed(folder, images, step, seconds=0, **options):
    steps = iter(range(1, step))

    def kill(name, call, arguments):
        if arguments[0] != log.fileno() and next(steps, None) is None:
            if name == "write":
                call(arguments[0], arguments[1][: len(arguments[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)

    folder.mkdir(exist_ok=True)
    patience = mock.patch.object(shards, "SHARD_SECONDS", seconds)
    with (folder / "log").open("w", buffering=1) as log, patience, intercepting(kill):
        fill(folder, images, added=lambda content: log.write(f"{content.hex()}\n"), **options)


def many(count=300):
    return {"train": {f"{('cat', 'dog')[n % 2]}.{n}": b"%d" % n for n in range(count)}}


def fill_slowly(root):
    """Say after each row which it was."""

    def added(content):
        print(content.decode(), flush=True)
        time.sleep(0.002)

    with write_lock(root, FEATURES), one_row_a_shard():
        fill(root, many(), added=added)


def write_again_and_again(root):
    """Fill a cache with two sets of images in turn, for as long as nobody ends it."""
    for images in itertools.cycle([IMAGES, CHANGED]):
        with write_lock(root, FEATURES):
            fill(root, images, prune=True)
        print("filled", flush=True)
