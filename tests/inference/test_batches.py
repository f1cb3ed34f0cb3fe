import threading

import numpy as np
import pytest

from catsdogs.images.views import View
from catsdogs.inference import batches, loading
from catsdogs.inference.timing import StageTimer
from catsdogs.sources import Source


@pytest.fixture
def files(tmp_path, draw, encode, write_folder):
    folder = write_folder(tmp_path, {f"{n}.png": encode(draw(n)) for n in range(64)})
    with Source(folder) as source:
        yield source.splits["test"].files


def rows(files, missing_views):
    return batches.compute_rows(
        files, lambda: pytest.fail("nothing is computed"), [View()], missing_views, timer=StageTimer()
    )


def test_a_few_files_are_read_by_all_threads(files, monkeypatch):
    monkeypatch.setattr(batches, "decoding_threads", lambda: 4)
    all_are_there = threading.Barrier(4, timeout=30)

    def missing_views(position, digest):
        all_are_there.wait()
        return []

    with rows(files[:4], missing_views) as computed:
        assert [row.position for row in computed] == [0, 1, 2, 3]


def test_who_leaves_waits_for_no_more_than_one_image_a_thread(files, monkeypatch):
    monkeypatch.setattr(batches, "decoding_threads", lambda: 2)
    begun, both_have_begun, go_on = [], threading.Barrier(3, timeout=30), threading.Event()

    def missing_views(position, digest):
        begun.append(position)
        both_have_begun.wait()
        go_on.wait(30)
        return []

    with rows(files, missing_views):
        both_have_begun.wait()
        threading.Timer(0.5, go_on.set).start()
    assert sorted(begun) == [0, 8]


@pytest.mark.parametrize(
    ("files", "threads", "sizes", "together"),
    [(0, 2, [224], 1), (1, 8, [224], 1), (17, 4, [224], 4), (37_500, 8, [224], 8), (37_500, 8, [512, 480], 1)],
)
def test_handfuls_hold_each_file_once_and_little_at_once(files, threads, sizes, together):
    chunks = loading.chunk_positions(files, threads, [View(size) for size in sizes])
    assert [position for handful in chunks for position in handful] == list(range(files))
    assert max(map(len, chunks), default=1) == together
    assert together == 1 or sum(3 * size**2 for size in sizes) * together <= loading.MAX_CHUNK_BYTES


def test_rows_come_in_order_whatever_their_number(files):
    for count in (0, 1, 7, 8, 9, 64):
        with rows(files[:count], lambda position, digest: []) as computed:
            positions = [row.position for row in computed]
        np.testing.assert_array_equal(positions, np.arange(count))
