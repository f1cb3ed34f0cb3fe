"""Complete runs with all bad files together, with many kills, and with very many images."""

import gc
import os
import random
import signal
import time
import tracemalloc
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.pictures import bomb
from support.program import IN_PROCESS, process, start

import catsdogs
from catsdogs import load_features

LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says what a process takes")


def tree(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def snapshot(folder):
    """Return what must not change: the name, type, time and, if readable, content of every file."""
    found = {}
    for name in sorted(os.fsencode(path) for path in folder.rglob("*")):
        status = os.lstat(name)
        found[name] = (status.st_mode, status.st_mtime_ns, status.st_size, status.st_ino)
    return found


def bad_pictures(folder, draw, encode, png_of):
    """Fill a folder with bad images of all kinds; return {id: a part of the reason, or None if it is read}."""
    good = encode(draw(1, size=(64, 48)), "JPEG")
    files = {
        "good": (good, None),
        "empty": (b"", "the file is empty"),
        "text": (b"a text that somebody called .jpg", "not a JPEG"),
        "gif": (encode(draw(2), "GIF"), None),
        "cut": (good[: len(good) // 2], "the file cannot be decoded"),
        "flipped": (good[:300] + bytes([good[300] ^ 1]) + good[301:], None),
        "bomb": (png_of(20_000, 20_000), "pixels"),
        "bomb-that-is-let-in": (png_of(16_000, 8_000), "the file cannot be decoded"),
        "tall-bomb": (png_of(1, 2_000_000), "bytes of memory, more than the limit"),
        "point": (encode(Image.new("RGB", (1, 1), "red")), None),
        "line": (encode(draw(3, size=(1, 30_000))), None),
        "lying-line": (encode(draw(3, size=(30_000, 1))), None),
        "frames": (
            encode(draw(4, size=(9, 9)), "GIF", save_all=True, append_images=[draw(n, (9, 9)) for n in range(300)]),
            None,
        ),
        "large": (encode(Image.linear_gradient("L").resize((6_000, 5_000)).convert("RGBA"), compress_level=1), None),
        "\udcff\udcfe": (good + b"x", None),
        "line\nend": (good + b"y", None),
    }
    for name, (content, _) in files.items():
        Path(os.fsdecode(os.fsencode(folder / f"{name}.jpg"))).write_bytes(content)
    expected = {catsdogs.errors.printable(name): reason for name, (_, reason) in files.items()}
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    (folder / "dangling.jpg").symlink_to(folder / "nowhere")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    (folder / "around").symlink_to(folder)
    with (folder / "vast.jpg").open("wb") as file:
        file.truncate(1 << 40)
    return expected | {
        "pipe": "it is not a regular file",
        "dangling": "No such file",
        "loop": "symbolic links",
        "vast": "more than the limit of 268,435,456",
    }


PEAK = """
import sys
import support.backbone
import catsdogs
from catsdogs.cli import main
support.backbone.install()
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
_, plain, *arguments = sys.argv
catsdogs.extract(plain, artifacts=arguments[2] + "-of-plain", weights=arguments[4])
before = peak()
sys.argv[1:] = ["extract", *arguments]
try:
    main()
except SystemExit as ended:
    print("ENDED", ended.code)
print("TOOK", peak() - before)
"""


@LINUX
def test_each_bad_image_is_computed_or_has_a_reason_and_none_is_changed(
    tmp_path, draw, encode, write_folder, tiny_backbone
):
    data, plain = tmp_path / "data/test", tmp_path / "plain"
    data.mkdir(parents=True)
    write_folder(plain, {"1.png": encode(draw(1))})
    expected = bad_pictures(data, draw, encode, lambda *size: bomb(encode, *size))
    before = snapshot(tmp_path / "data")
    artifacts = tmp_path / "artifacts"
    arguments = [plain, tmp_path / "data", "--artifacts", artifacts, "--weights", tiny_backbone]
    done = process(*arguments, program=("-c", PEAK))
    assert done.returncode == 0, done.stderr
    # The library warns without a prefix, the program with one.
    warnings = [line.removeprefix("warning: ") for line in done.stderr.splitlines()]
    assert all(line.startswith("no head can be trained on these images") for line in warnings)
    bad = len([name for name, reason in expected.items() if reason is not None])
    assert f"{len(expected)} ({len(expected)} test), {bad} unreadable" in done.stdout
    found = load_features(artifacts, split="test")
    assert set(found.ids.tolist()) == set(expected)
    for name, reason in expected.items():
        assert (name in found.unreadable) == (reason is not None), name
        assert reason is None or reason in found.unreadable[name], (name, found.unreadable[name])
    assert snapshot(tmp_path / "data") == before
    assert int(done.stdout.rpartition("TOOK ")[2]) < 1 << 30


@pytest.mark.slow
@LINUX
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_threads_that_read_huge_files_take_less_than_a_gibibyte(
    tmp_path, draw, encode, write_folder, zipped, tiny_backbone, form
):
    write_folder(tmp_path / "plain", {"1.png": encode(draw(1))})
    names = [f"test/{number}.png" for number in range(5)]
    data = tmp_path / form
    if form == "zip":
        data.write_bytes(zipped(dict.fromkeys(names, encode(draw(1)).ljust(240 << 20, b"\0")), zipfile.ZIP_DEFLATED))
    else:
        for name in names:
            os.truncate(write_folder(data, {name: encode(draw(1))}) / name, 240 << 20)
    many = "from catsdogs.inference import prefetching\nprefetching.cpu_count = lambda: 8\n"
    arguments = [tmp_path / "plain", data, "--artifacts", tmp_path / "artifacts", "--weights", tiny_backbone]
    done = process(*arguments, program=("-c", many + PEAK))
    assert "5 (5 test), 0 unreadable" in done.stdout, done.stderr
    assert int(done.stdout.rpartition("TOOK ")[2]) < 1 << 30


def test_images_removed_or_changed_in_a_run_have_a_reason_or_new_features(
    tmp_path, draw, encode, write_folder, tiny_backbone
):
    from catsdogs.inference import machine

    data = write_folder(tmp_path / "data", {f"{n}.png": encode(draw(n)) for n in range(1, 6)})
    kept = machine.compute_rows

    def compute_rows(files, *arguments, **named):
        (data / "2.png").unlink()
        (data / "3.png").write_bytes(encode(draw(77)))
        (data / "4.png").unlink()
        (data / "4.png").mkdir()
        os.truncate(data / "5.png", 40)
        return kept(files, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "compute_rows", compute_rows)
        done = catsdogs.extract(data, artifacts=tmp_path / "a", weights=str(tiny_backbone))
    assert done.computed == 2
    assert {name: reason[:12] for name, reason in done.unreadable["test"].items()} == {
        "2": "the file can",
        "4": "the file can",
        "5": done.unreadable["test"]["5"][:12],
    }
    write_folder(tmp_path / "other", {"3.png": encode(draw(77))})
    catsdogs.extract(tmp_path / "other", artifacts=tmp_path / "b", weights=str(tiny_backbone))
    assert np.array_equal(
        load_features(tmp_path / "a", split="test").features[2], load_features(tmp_path / "b", split="test").features[0]
    )


def readable_rows(artifacts):
    """Return the number of rows of readable images in shards."""
    return sum(int(np.sum(np.load(path)["reason"] == b"")) for path in artifacts.glob("features/shards/*/*.npy"))


@pytest.mark.slow
def test_after_forty_kills_the_cache_equals_that_of_an_uninterrupted_run(
    tmp_path, draw, encode, write_folder, tiny_backbone
):
    images = {f"{number}.png": encode(draw(number % 50, (64 + number, 64))) for number in range(1, 1201)}
    images |= {f"{number}.png": b"bad %d" % number for number in range(1201, 1221)}
    data = write_folder(tmp_path / "data", images)
    catsdogs.extract(data, artifacts=tmp_path / "fresh", weights=str(tiny_backbone))
    expected, draws = tree(tmp_path / "fresh/features"), random.Random(0)
    kills, states, whole, kept, artifacts = 0, Counter(), 0, 0, tmp_path / "0"
    arguments, begun = ["extract", data, "--weights", tiny_backbone, "--artifacts"], time.monotonic()
    assert process(*arguments, tmp_path / "timed", program=("-c", IN_PROCESS)).returncode == 0
    usual = time.monotonic() - begun
    while kills < 40:
        kind, begun = draws.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL]), time.monotonic()
        often = draws.choice(["", "from catsdogs.cache import shards; shards.SHARD_SECONDS = 0.02"])
        # Some kills come whenever, others when there is a shard, or when the arrays are written.
        moments = [("*.lock", usual), ("features/shards/*/*.npy", 0.3), ("features/*/*.new", 0.05)]
        awaited, longest = draws.choice(moments)
        with start(*arguments, artifacts, before=often) as run:
            while run.poll() is None and not any(artifacts.glob(awaited)):
                time.sleep(0.001)
            time.sleep(draws.uniform(0, longest))
            if run.poll() == 0:  # the machine had other work while the first was timed
                usual = min(usual, time.monotonic() - begun)
            run.send_signal(kind)
            run.communicate(timeout=300)
        kills += run.returncode != 0
        committed, rows = (artifacts / "features/manifest.json").exists(), readable_rows(artifacts)
        assert committed or rows >= kept
        kept = rows
        states["committed" if committed else "assembling" if any(artifacts.glob("features/*/*.new")) else rows > 0] += 1
        if run.returncode == 0 or kills % 4 == 0:
            done = catsdogs.extract(data, artifacts=artifacts, weights=str(tiny_backbone))
            assert done.computed == (0 if committed else 1200 - rows)
            # What a process was writing when it was killed stays beside the shards for an hour.
            left = {name: of for name, of in tree(artifacts / "features").items() if not name.startswith("shards/")}
            assert left == expected, kills
            whole, kept = whole + 1, 0
            artifacts = tmp_path / str(whole)
    print(f"{kills} kills, what they left: {states}")
    assert whole >= 10
    assert min(states["committed"], states[True]) > 0


@LINUX
@pytest.mark.parametrize("few", [50, pytest.param(2_000, marks=pytest.mark.slow)])
def test_ten_times_as_many_images_take_no_more_memory_or_files(tmp_path, draw, encode, tiny_backbone, few):
    """Copies with bytes appended are different files; 2 % of them are cut."""
    many = 10 * few
    pictures = [encode(draw(seed, (200, 150)), "JPEG", quality=60) for seed in range(50)]
    data = tmp_path / "data/test"
    data.mkdir(parents=True)
    for number in range(many):
        content = pictures[number % 50]
        content = content[:400] + b"%d" % number if number % 50 == 7 else content + b"%d" % number
        (data / f"{number}.jpg").write_bytes(content)
    marks = {}

    def look(step, done, total):
        reached = few if done < 5 * few else 5 * few if done < many else many
        if step == "computing features" and done >= few and reached not in marks:
            gc.collect()
            memory, _ = tracemalloc.get_traced_memory()  # of Python and NumPy, not of Pillow and other code in C
            pillow = Image.core.get_stats()
            status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            marks[reached] = (
                len(list(Path("/proc/self/fd").iterdir())),
                memory,
                pillow["allocated_blocks"] - pillow["freed_blocks"],
                1024 * int(status["VmRSS"].split()[0]),
            )

    tracemalloc.start()
    try:
        done = catsdogs.extract(data.parent, artifacts=tmp_path / "a", weights=str(tiny_backbone), progress=look)
    finally:
        tracemalloc.stop()
    print(f"{many:,} files; open files, bytes, images of Pillow, bytes of the process after so many: {marks}")
    assert (done.images, done.computed, len(done.unreadable["test"])) == ({"test": many}, many - many // 50, many // 50)
    assert {int(name) % 50 for name in done.unreadable["test"]} == {7}
    files, memory, images, resident = np.transpose([marks[reached] for reached in (few, 5 * few, many)])
    assert np.ptp(files) <= os.cpu_count()  # each thread may be reading one at that moment
    waiting = 8_192 * min(many, 4_096)  # bytes of the rows that are not yet in a shard
    assert memory[-1] - memory[0] < 6_000_000 + waiting  # the pixels of the images are 67 MB and more
    assert images[-1] - images[0] < 10
    if few == 2_000:  # of fewer, what malloc keeps is as much as what a decoder could leave
        assert resident[-1] - resident[1] < 100_000_000
    assert catsdogs.extract(data.parent, artifacts=tmp_path / "a").computed == 0
    assert catsdogs.verify(tmp_path / "a").problems == ()
