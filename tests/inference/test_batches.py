import re
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support.backbone import NumpyBackbone

from catsdogs import CatsDogsError
from catsdogs.backbone import Backbone, choose_weights
from catsdogs.cache import KnownRows, digest
from catsdogs.images.views import View
from catsdogs.inference import batches, prefetching
from catsdogs.inference.loading import ChunkLoader
from catsdogs.sources import ImageFile, Source


@pytest.fixture
def files(tmp_path, draw, encode, write_folder):
    folder = write_folder(tmp_path, {f"{n}.png": encode(draw(n)) for n in range(64)})
    with Source(folder) as source:
        yield source.splits["test"].files


def known_rows(files, views=("224",)):
    """Return known rows of these files in all views."""
    return KnownRows((*views, "facts"), {digest(file.read()).tobytes(): () for file in files}, {})


def known(files):
    loader = ChunkLoader([View()], known_rows(files))
    return batches.compute_rows(files, loader, lambda: pytest.fail("nothing is computed"))


def positions_in(items):
    return [position for item in items for position in item.records["position"].tolist()]


class SlowFile(ImageFile):
    """A file that calls `wait` with its number and then fails to be read."""

    def __init__(self, number, wait):
        super().__init__((str(number),), str(number))
        object.__setattr__(self, "_wait", partial(wait, number))

    def length(self):
        return 0

    size = length

    def read(self):
        self._wait()
        raise OSError("it is none")


def slow_files(count, wait):
    return [SlowFile(number, wait) for number in range(count)]


def test_a_few_files_are_read_by_all_threads(monkeypatch):
    monkeypatch.setattr(prefetching, "decoding_threads", lambda: 4)
    all_are_there = threading.Barrier(4, timeout=60)
    files = slow_files(4, lambda number: all_are_there.wait())
    with prefetching.load_images(files, ChunkLoader([View()])) as images:
        assert positions_in(images) == [0, 1, 2, 3]


def test_leaving_early_waits_for_at_most_one_image_per_thread(monkeypatch):
    monkeypatch.setattr(prefetching, "decoding_threads", lambda: 2)
    begun, both_have_begun, left = [], threading.Barrier(3, timeout=60), threading.Event()

    def wait(number):
        begun.append(number)
        if number in (0, 8):
            both_have_begun.wait()
        left.wait(20) or left.set()

    with prefetching.load_images(slow_files(64, wait), ChunkLoader([View()])) as images:
        both_have_begun.wait()
        close = images._decoder.close
        monkeypatch.setattr(images._decoder, "close", lambda: (close(), left.set()))
    assert sorted(begun) == [0, 8]


@pytest.mark.parametrize(
    ("files", "threads", "sizes", "together"),
    [(0, 2, [224], 1), (1, 8, [224], 1), (17, 4, [224], 4), (37_500, 8, [224], 8), (37_500, 8, [512, 480], 1)],
)
def test_chunks_contain_each_file_once_and_are_limited_in_size(files, threads, sizes, together):
    chunks = prefetching.chunk_positions(range(files), threads, [View(size) for size in sizes])
    assert [position for chunk in chunks for position in chunk] == list(range(files))
    assert max(map(len, chunks), default=1) == together
    assert together == 1 or sum(3 * size**2 for size in sizes) * together <= prefetching.MAX_CHUNK_BYTES


@pytest.mark.parametrize("number", [0, 29, 63])
def test_features_that_are_not_finite_name_the_image(number, files, tiny_backbone):
    wrong = ChunkLoader([View()]).load_one(files[number]).pixels[View()].tobytes()

    def compute(pixels):
        features = NumpyBackbone.features(backbone, pixels)
        features[[image.tobytes() == wrong for image in pixels]] = np.inf
        return features

    backbone = NumpyBackbone(choose_weights(str(tiny_backbone), Path()), [224])
    backbone._compiled = {224: (backbone.batch_size, compute)}
    backbone.features = partial(Backbone.features, backbone)
    with pytest.raises(CatsDogsError, match=rf"NaN or infinite features of .*/{re.escape(files[number].parts[-1])}\. "):
        batches.compute_all(files, [View()], lambda: backbone, "computing")


def test_images_come_in_the_order_of_the_files(files):
    for count in (0, 1, 7, 8, 9, 64):
        with known(files[:count]) as computed:
            assert positions_in(computed) == [*range(count)]


def test_identical_files_read_at_the_same_time_are_decoded_once(files, monkeypatch):
    class Slow(dict):
        def get(self, key, default=None):
            time.sleep(0.05)
            return default

    monkeypatch.setattr(prefetching, "decoding_threads", lambda: 4)
    rows = KnownRows(("224", "facts"), Slow(), {})
    with prefetching.load_images(4 * [files[0]], ChunkLoader([View()], rows)) as images:
        assert sum(len(loaded) for loaded in images if loaded.pixels) == 1


def test_only_views_that_are_not_known_of_the_same_bytes_are_computed(files, tiny_backbone):
    views, rows = [View(224), View(224, mirrored=True)], known_rows(files[:4], ["224", "224m"])
    keys = [*rows.missing]
    rows.missing[keys[1]] = ("224m",)
    del rows.missing[keys[2]]
    rows.missing[keys[3]] = ("facts",)
    backbone = NumpyBackbone(choose_weights(str(tiny_backbone)), [224])
    with batches.compute_rows(files[:4], ChunkLoader(views, rows), lambda: backbone) as computed:
        found = {
            record["position"]: ({view.name for view in rows.features}, bool(record["facts"]["width"] > 0))
            for rows in computed
            for record in rows.records
        }
    assert found == {0: (set(), False), 1: ({"224m"}, False), 2: ({"224", "224m"}, True), 3: (set(), True)}


@pytest.mark.parametrize("error", [OSError("the disk is full"), KeyboardInterrupt()])
def test_when_the_consumer_fails_no_thread_is_left(files, tiny_backbone, error):
    backbone = NumpyBackbone(choose_weights(str(tiny_backbone)), [224])
    kept = []

    def fail_after_the_first_row():
        with batches.compute_rows(files, ChunkLoader([View()]), lambda: backbone) as rows:
            kept.append(rows)  # keep a reference, so that it is not garbage-collected
            next(rows)
            raise error

    with pytest.raises(type(error)):
        fail_after_the_first_row()
    left = {thread.name for thread in threading.enumerate() if thread.name.startswith(("decode", "compute"))}
    assert not left
