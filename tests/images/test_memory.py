import contextlib
import io
import os
import struct
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image
from support.pictures import bomb

from catsdogs.images import decoding, memory
from catsdogs.images.codecs import open_image
from catsdogs.images.containers import strip
from catsdogs.images.decoding import UnreadableImageError, decode, decode_resized
from catsdogs.images.jpeg import find_scans, in_parts, with_ends
from catsdogs.images.memory import MEMORY_BUDGET, reserve_memory
from catsdogs.images.views import SIZE


@pytest.mark.parametrize(
    "size", [(20_000, 20_000), (2**31 - 1, 2**31 - 1), (MEMORY_BUDGET, 1), (1, MEMORY_BUDGET // 4 // SIZE + 1)]
)
def test_a_decompression_bomb_is_unreadable(encode, size):
    with pytest.raises(
        UnreadableImageError, match=r"pixels|needs [\d,]+ bytes of memory, more than the limit of 1,006,632,960"
    ):
        decode(bomb(encode, *size))


def test_the_largest_size_decides_whether_there_is_enough_memory(draw, encode, monkeypatch):
    monkeypatch.setattr(decoding, "MEMORY_BUDGET", 2 << 20)
    data = encode(draw(1, size=(1, 2_000)).convert("L"))
    assert decode_resized(data, (160, SIZE)).keys() == {160, SIZE}
    with pytest.raises(UnreadableImageError, match=r"1x2000 pixels needs 4,[\d,]+ bytes of memory, .* 2,097,152"):
        decode_resized(data, (512, 160))


def test_the_limit_holds_if_a_user_lifts_the_limit_of_pillow(encode, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(UnreadableImageError, match="20000x20000 pixels needs 1,617,920,067 bytes"):
        decode(bomb(encode, 20_000, 20_000))


@pytest.mark.parametrize(
    ("side", "limit"), [(120, 10_000), pytest.param(9_500, Image.MAX_IMAGE_PIXELS, marks=pytest.mark.slow)]
)
def test_an_image_that_pillow_only_warns_about_is_decoded(encode, monkeypatch, side, limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    data = encode(Image.new("L", (side, side), 77), compress_level=1)
    with pytest.warns(Image.DecompressionBombWarning), Image.open(io.BytesIO(data)):
        pass
    assert (decode(data, 5) == 77).all()


def test_an_image_is_not_unreadable_because_memory_runs_out(tmp_path, encode):
    resource = pytest.importorskip("resource")
    assert resource
    (tmp_path / "bomb.png").write_bytes(bomb(encode, 13_000, 13_000))
    script = """
import pathlib, resource, sys
from catsdogs.images.decoding import decode
used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 26), -1))
try:
    decode(pathlib.Path(sys.argv[1]).read_bytes())
except MemoryError:
    print("MemoryError")
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("only Linux keeps a process to an amount of memory")
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "bomb.png"], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("MemoryError\n", "")


def test_a_jpeg_of_several_scans_needs_the_memory_of_its_coefficients(draw, encode, monkeypatch):
    image, thumbnail = draw(1, size=(640, 480)), b"Exif\0\0" + encode(draw(2), "JPEG")
    plain, progressive = encode(image, "JPEG"), encode(image, "JPEG", progressive=True)
    several = encode(image, "MPO", save_all=True, append_images=[image])
    monkeypatch.setattr(decoding, "MEMORY_BUDGET", 3_600_000)
    # A second picture behind the first is none of its scans.
    commented = [plain[:-2] + b"\xff\xfe\0\4ab" + end for end in (b"", b"\xff\xd9")]
    for data in (plain, *commented, encode(image, "JPEG", exif=thumbnail), plain + progressive, several):
        decode(data)
    for data in (progressive, progressive + plain, encode(image, "JPEG", exif=thumbnail, progressive=True)):
        with pytest.raises(UnreadableImageError, match="640x480 pixels needs 4,"):
            decode(data)


HOSTILE = {
    "scans": b"\xff\xda\0\2",
    "restarts": b"\xff\xda\0\2" + b"\xff\xd0" * 50_000,
    "segments": b"\xff\xdb\0\2",
    "segments and comments": b"\xff\xdb\0\2\xff\xfe\0\2",
}


@pytest.mark.parametrize("content", HOSTILE)
def test_what_a_jpeg_holds_takes_little_memory_before_its_header_is_read(content):
    data = b"\xff\xd8\xff\xdd\0\4\0\1" + HOSTILE[content] * max(1, 100_000 // len(HOSTILE[content])) + b"\xff\xd9"
    tracemalloc.start()
    try:
        with contextlib.suppress(OSError):
            stripped = strip(data, "JPEG")
            ends, scans = with_ends(stripped, *find_scans(stripped))
            for _ in in_parts(ends[0], scans):
                pass
        assert tracemalloc.get_traced_memory()[1] < 5 * len(data)
    finally:
        tracemalloc.stop()


def test_errors_keep_no_memory_of_the_decoder(encode):
    """Nor of the pixels, though what called the decoder is in their tracebacks."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("only Linux says what memory a process has")
    side, times, errors = 3_000, 10, []
    coefficients = 2 * side**2
    jpeg = encode(Image.new("L", (side, side)), "JPEG", progressive=True)

    def parts():
        yield jpeg[:-2] + b"\xff\0" * 8
        raise MemoryError

    before = int(statm.read_text().split()[1])
    for _ in range(times):
        with contextlib.closing(open_image(jpeg, "JPEG")) as image, pytest.raises(MemoryError) as kept:
            decoding._load_jpeg(image, parts())
        errors.append(kept)
    grown = (int(statm.read_text().split()[1]) - before) * os.sysconf("SC_PAGE_SIZE")
    assert all(error.tb for error in errors)
    # What was freed may stay with the process, to be used again.
    assert grown < times / 2 * coefficients


LARGE = {
    "photograph of 108 million pixels": ("RGB", (12_000, 9_000), "JPEG", {"turned": 6}),
    "progressive": ("RGB", (9_400, 8_000), "JPEG", {"progressive": True, "subsampling": 0}),
    "inks": ("CMYK", (9_400, 8_000), "JPEG", {"turned": 8}),
    "alpha": ("RGBA", (9_400, 8_000), "PNG", {"compress_level": 1, "turned": 6}),
    "grey and alpha": ("LA", (9_400, 8_000), "PNG", {"compress_level": 1}),
    "palette": ("P", (12_000, 10_000), "PNG", {"compress_level": 1, "transparency": 3}),
    "webp": ("RGB", (10_000, 5_500), "WEBP", {"quality": 1, "method": 0}),
    "floats": ("F", (9_400, 8_000), "TIFF", {"compression": "tiff_lzw", "turned": 3}),
    "tall": ("L", (1, 1_000_000), "PNG", {}),
    # The height in the header is one more than that of the frame; a first colour that is not black makes a palette.
    "part of a grey gif": ("L", (13_000, 12_999), "GIF", {"patches": {8: struct.pack("<H", 13_000)}}),
    "part of a palette gif": ("P", (11_000, 10_999), "GIF", {"patches": {8: struct.pack("<H", 11_000), 13: b"\1"}}),
}


PEAK = """
import pathlib, sys
from concurrent.futures import ThreadPoolExecutor
from catsdogs.images.decoding import decode_resized
def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) * 1024
def see(path):
    return decode_resized(pathlib.Path(path).read_bytes(), (160, 224))[224].shape
before = peak()
with ThreadPoolExecutor(4) as threads:
    assert set(threads.map(see, sys.argv[1:])) == {(224, 224, 3)}
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says what a process took at its peak")
def test_the_largest_images_of_all_formats_take_a_gibibyte_in_all_threads(tmp_path, encode):
    grey = Image.linear_gradient("L")
    for name, (mode, size, form, options) in LARGE.items():
        exif = Image.Exif()
        exif[0x0112] = options.get("turned", 1)
        patches = options.get("patches", {})
        options = {option: value for option, value in options.items() if option not in ("turned", "patches")}
        data = bytearray(encode(grey.resize(size).convert(mode), form, exif=exif, **options))
        for at, patch in patches.items():
            data[at : at + len(patch)] = patch
        (tmp_path / name).write_bytes(data)
    paths = sorted(tmp_path.iterdir())
    alone = [int(subprocess.check_output([sys.executable, "-c", PEAK, path])) for path in paths]
    together = int(subprocess.check_output([sys.executable, "-c", PEAK, *paths]))
    print({path.name: f"{taken >> 20} MiB" for path, taken in zip(paths, alone, strict=True)}, together >> 20)
    assert max(*alone, together) < 1 << 30


@pytest.mark.parametrize("smaller", [64, pytest.param(1, marks=pytest.mark.slow)])
def test_large_files_never_cause_a_deadlock(draw, encode, monkeypatch, smaller):
    """Two files need more than the whole budget; `smaller` reduces the files and the budget alike."""
    for limit in ("MEMORY_BUDGET", "_HEAVY_FILE"):
        monkeypatch.setattr(memory, limit, getattr(memory, limit) // smaller)
    side = int(11_000 / smaller**0.5)
    heavy = encode(Image.new("L", (side, side), 77), compress_level=1).ljust((250 << 20) // smaller, b"\0")
    assert memory.MEMORY_BUDGET / 2 < len(heavy) + 4 * side**2 < memory.MEMORY_BUDGET
    light = encode(draw(1))

    def see(data):
        with reserve_memory(len(data)) as reserved:
            return decode(data, 5, reserved=reserved).tobytes()

    threads = ThreadPoolExecutor(8)
    try:
        found = [threads.submit(see, data) for data in [heavy, light, light] * 3]
        assert [future.result(timeout=600) for future in found] == [
            bytes([77] * 75),
            *[decode(light, 5).tobytes()] * 2,
        ] * 3
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
