import io
import itertools
import struct
import subprocess
import sys
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin
from support.fuzz_images import mutants, verdict
from support.pictures import bomb

from catsdogs.images import decoding as images
from catsdogs.images.codecs import FORMATS, PIXELS
from catsdogs.images.decoding import SIZE, UnreadableImageError, decode, decode_resized, decode_thumbnail
from catsdogs.images.memory import MEMORY_BUDGET, reserve_memory

GOLDEN = Path(__file__).parent / "golden"


def one_colour(mode, colour):
    return Image.new(mode, (9, 7), colour)


def array(values):
    return Image.fromarray(np.full((7, 9), *values))


def png(colour_type, depth, samples, transparent=b""):
    """Return a PNG (ISO/IEC 15948) of 9x7 equal pixels: what Pillow reads and does not write."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 9, 7, depth, colour_type, 0, 0, 0)
    rows = (b"\0" + struct.pack(f">{len(samples)}{'H' if depth == 16 else 'B'}", *samples) * 9) * 7
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    if transparent:
        chunks.insert(1, chunk(b"tRNS", transparent))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def cmyk_profile():
    """Return an ICC profile (ICC.1:2001-04, 6.5.10) of a press whose cyan is mid grey and whose yellow is invisible."""
    identity = bytes(range(256))
    white, grey, black = (bytes((lightness, 128, 128)) for lightness in (255, 128, 0))
    # Two points a channel, cyan varying slowest and black fastest.
    table = struct.pack(">4s4xBBBx9i", b"mft1", 4, 3, 2, *(65536 * (i % 4 == 0) for i in range(9)))
    table += identity * 4 + (white + black) * 4 + (grey + black) * 4 + identity * 3
    header = struct.pack(">I4xI4s4s4s12x4s", 144 + len(table), 0x02100000, b"prtr", b"CMYK", b"Lab ", b"acsp")
    header = header.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table


def srgb_of_lightness(lightness):
    """CIE 15 from L* to luminance, IEC 61966-2-1 from there to sRGB."""
    luminance = ((lightness + 16) / 116) ** 3
    return 255 * (1.055 * luminance ** (1 / 2.4) - 0.055)


MID_GREY = srgb_of_lightness(128 / 255 * 100)

COLOURS = {
    "rgb": (one_colour("RGB", (10, 200, 30)), "PNG", {}, (10, 200, 30)),
    "rgb bmp": (one_colour("RGB", (10, 200, 30)), "BMP", {}, (10, 200, 30)),
    "rgb webp": (one_colour("RGB", (10, 200, 30)), "WEBP", {"lossless": True}, (10, 200, 30)),
    "rgb tiff": (one_colour("RGB", (10, 200, 30)), "TIFF", {"compression": "tiff_lzw"}, (10, 200, 30)),
    "grey": (one_colour("L", 77), "PNG", {}, (77, 77, 77)),
    "grey jpeg": (one_colour("L", 77), "JPEG", {"quality": 100}, (77, 77, 77)),
    "grey with one transparent": (one_colour("L", 77), "PNG", {"transparency": 77}, (255, 255, 255)),
    "grey with another transparent": (one_colour("L", 77), "PNG", {"transparency": 78}, (77, 77, 77)),
    "one bit": (one_colour("1", 1), "PNG", {}, (255, 255, 255)),
    "one bit tiff": (one_colour("1", 0), "TIFF", {"compression": "group4"}, (0, 0, 0)),
    "rgb with one transparent": (one_colour("RGB", (1, 2, 3)), "PNG", {"transparency": (1, 2, 3)}, (255,) * 3),
    # (colour * alpha + 255 * (255 - alpha)) / 255
    "grey and alpha": (one_colour("LA", (100, 51)), "PNG", {}, (224, 224, 224)),
    "rgba": (one_colour("RGBA", (200, 0, 100, 51)), "PNG", {}, (244, 204, 224)),
    "rgba, all transparent": (one_colour("RGBA", (200, 0, 100, 0)), "WEBP", {"lossless": True}, (255,) * 3),
    "palette": (one_colour("RGB", (9, 99, 199)).quantize(2), "PNG", {}, (9, 99, 199)),
    "palette with alphas": (
        one_colour("RGB", (200, 0, 100)).quantize(2),
        "PNG",
        {"transparency": b"\x33\x33"},
        (244, 204, 224),
    ),
    "palette gif": (one_colour("RGB", (9, 99, 199)).quantize(2), "GIF", {}, (9, 99, 199)),
    "palette gif, transparent": (one_colour("P", 0), "GIF", {"transparency": 0}, (255, 255, 255)),
    "grey of 16 bits": (array((0xC8C8, np.uint16)), "PNG", {}, (200, 200, 200)),
    # Scaled by 255/65535 and rounded: 33,023 is 128.494; taking the high byte of 511 would give 1.
    "grey of 16 bits, rounded down": (array((33_023, np.uint16)), "TIFF", {}, (128, 128, 128)),
    "grey of 16 bits, rounded up": (array((511, np.uint16)), "TIFF", {"big_endian": True}, (2, 2, 2)),
    "32 bit integers of 16 bits": (array((0x8080, np.int32)), "TIFF", {}, (128, 128, 128)),
    "32 bit integers": (array((200 * 8_421_504, np.int32)), "TIFF", {}, (200, 200, 200)),
    "floats to 1": (array((0.4, np.float32)), "TIFF", {}, (102, 102, 102)),
    "floats to 255": (array((102.4, np.float32)), "TIFF", {}, (102, 102, 102)),
    "floats, not a number": (array((np.nan, np.float32)), "TIFF", {}, (0, 0, 0)),
    "floats, infinite": (array((np.inf, np.float32)), "TIFF", {}, (255, 255, 255)),
    "floats, far below": (array((-3e38, np.float32)), "TIFF", {}, (0, 0, 0)),
    # Without a profile, red is (255 - cyan) * (255 - black) / 255, and so on.
    "cmyk jpeg": (one_colour("CMYK", (51, 102, 255, 0)), "JPEG", {"quality": 100}, (204, 153, 0)),
    "cmyk tiff": (one_colour("CMYK", (51, 102, 255, 51)), "TIFF", {}, (163, 122, 0)),
    "cmyk with profile": (
        one_colour("CMYK", (255, 0, 0, 0)),
        "JPEG",
        {"quality": 100, "icc_profile": cmyk_profile()},
        (MID_GREY,) * 3,
    ),
    "cmyk with profile, invisible": (
        one_colour("CMYK", (0, 0, 255, 0)),
        "TIFF",
        {"icc_profile": cmyk_profile()},
        (255, 255, 255),
    ),
    "cmyk with a broken profile": (
        one_colour("CMYK", (51, 102, 255, 0)),
        "TIFF",
        {"icc_profile": b"no profile"},
        (204, 153, 0),
    ),
    "lab": (one_colour("LAB", (128, 128, 128)), "TIFF", {}, (MID_GREY,) * 3),
}


@pytest.mark.parametrize(("image", "form", "options", "colour"), COLOURS.values(), ids=COLOURS)
def test_every_colour_mode_becomes_rgb(encode, image, form, options, colour):
    pixels = decode(encode(image, form, **options), 5)
    assert (pixels.shape, pixels.dtype) == ((5, 5, 3), np.uint8)
    assert (pixels == pixels[0, 0]).all()
    # JPEG, and colours that go through CIE L*a*b* in 8 bits, are rounded more than once.
    assert np.abs(pixels[0, 0] - np.array(colour, float)).max() <= (1 if form == "JPEG" or image.mode == "LAB" else 0)


@pytest.mark.parametrize(
    ("data", "colour"),
    [
        (png(0, 16, [0x8080], struct.pack(">H", 0x8080)), (255, 255, 255)),
        (png(0, 16, [0x8080], struct.pack(">H", 0x8081)), (128, 128, 128)),
        (png(2, 16, [0x1010, 0x8080, 0xF0F0]), (16, 128, 240)),
        (png(4, 16, [0x6464, 0x3333]), (224, 224, 224)),
        (png(6, 16, [0xC8C8, 0, 0x6464, 0x3333]), (244, 204, 224)),
        (png(6, 8, [200, 0, 100, 51]), (244, 204, 224)),
    ],
    ids=["grey with its transparent", "grey with another", "rgb", "grey and alpha", "rgba", "rgba of 8 bits"],
)
def test_pngs_of_16_bits_become_rgb(data, colour):
    assert (decode(data, 5) == colour).all()


@pytest.mark.parametrize("path", sorted(set(GOLDEN.iterdir()) - {GOLDEN / "expected.npz"}), ids=lambda path: path.name)
def test_golden_images_keep_their_pixels(path):
    """What a cache holds depends on these: whoever means to change them changes PIXELS as well."""
    with np.load(GOLDEN / "expected.npz") as expected:
        np.testing.assert_array_equal(decode(path.read_bytes(), 6), expected[path.name])


def bicubic(length, size):
    """Weights (size, length) of Keys' bicubic with a = -0.5, widened by the scale (Keys 1981; Pillow's Resample.c)."""
    scale = length / size
    x = np.abs((np.arange(length) + 0.5 - (np.arange(size)[:, None] + 0.5) * scale) / max(scale, 1))
    weights = np.where(x < 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("size", [(640, 480), (91, 333), (224, 224), (30, 20), (1, 1), (1, 3000), (3000, 1)])
def test_an_image_is_squashed_to_the_square_by_antialiased_bicubic(draw, encode, size):
    image = draw(3, size=size)
    rows, columns = bicubic(size[1], SIZE), bicubic(size[0], SIZE)
    want = np.einsum("yh,hwc,xw->yxc", rows, np.asarray(image, float), columns, optimize=True)
    pixels = decode(encode(image))
    assert pixels.shape == (SIZE, SIZE, 3)
    assert np.abs(pixels - np.clip(want, 0, 255)).max() < 1.5  # Pillow rounds after either direction


def test_the_pixels_are_said_to_be_those_of_a_pillow_that_squashes_so(encode):
    """A Pillow that squashes otherwise must be told apart by `PIXELS`: look, before the next one is let in here."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (290, 154, 3), np.uint8))
    major = PIL.__version__.partition(".")[0]
    first = {"12": (SIZE, image.height), "13": (image.width, SIZE)}[major]
    want = image.resize(first, Image.Resampling.BICUBIC).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(decode(encode(image)), np.asarray(want))
    assert f"Pillow {major}'s" in PIXELS


def test_a_grey_image_has_the_pixels_of_the_same_image_in_rgb(draw, encode):
    grey = draw(4, size=(300, 200)).convert("L")
    np.testing.assert_array_equal(decode(encode(grey)), decode(encode(grey.convert("RGB"))))


def test_profiles_of_rgb_and_grey_images_are_ignored(draw, encode):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    for image in (draw(5), draw(5).convert("L")):
        np.testing.assert_array_equal(decode(encode(image, icc_profile=profile)), decode(encode(image)))


# Where each orientation's first row and first column lie, as the standard draws it (CIPA DC-008, 4.6.4, tag 0x0112):
# what the file must hold so that the upright picture comes out.
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright.swapaxes(0, 1)[::-1],
    7: lambda upright: upright.swapaxes(0, 1)[::-1, ::-1],
    8: lambda upright: upright.swapaxes(0, 1)[:, ::-1],
}
LOSSLESS = {
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "TIFF of libtiff": {"compression": "tiff_lzw"},
    "TIFF of two pages": {"save_all": True, "append_images": [Image.new("RGB", (9, 9))]},
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("form", LOSSLESS)
def test_the_exif_orientation_is_applied_once(draw, encode, form, orientation):
    upright = np.asarray(draw(6, size=(48, 32)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    data = encode(stored, form.split(" ")[0], exif=exif, **LOSSLESS[form])
    np.testing.assert_array_equal(decode(data, 16), decode(encode(Image.fromarray(upright)), 16))


@pytest.mark.parametrize("orientation", STORED)
def test_a_jpegs_exif_orientation_is_applied(draw, encode, orientation):
    upright = np.asarray(draw(6, size=(64, 32)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    pixels = decode(encode(stored, "JPEG", quality=100, exif=exif), 16).astype(int)
    assert np.abs(pixels - decode(encode(Image.fromarray(upright)), 16)).max() < 12


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_is_ignored(draw, encode, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode(encode(draw(7), exif=exif)), decode(encode(draw(7))))


@pytest.mark.parametrize(
    "block", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_a_broken_exif_block_costs_no_image(draw, encode, block):
    np.testing.assert_array_equal(decode(encode(draw(7), "JPEG", exif=block)), decode(encode(draw(7), "JPEG")))


def test_an_exif_block_that_is_not_even_hexadecimal_costs_no_image(draw, encode):
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Raw profile type exif", "\nexif\n4\nno number")
    np.testing.assert_array_equal(decode(encode(draw(7), pnginfo=notes)), decode(encode(draw(7))))


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_the_first_frame_stands_for_all(encode, form):
    frames = [one_colour("RGB", colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    options = {"WEBP": {"lossless": True}, "MPO": {"quality": 100}}.get(form, {})
    data = encode(frames[0], form, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.n_frames) == (form, 3)
    assert np.abs(decode(data, 5).astype(int) - (250, 0, 0)).max() <= 2


def truncated(data):
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (lambda encode, image: b"", "the file is empty"),
        (lambda encode, image: b"a text that somebody called cat.1.jpg", "not a JPEG, PNG, WebP, BMP, GIF or TIFF"),
        (lambda encode, image: b"\xff\xd8\xff", "not a JPEG, PNG, WebP, BMP, GIF or TIFF"),
        (lambda encode, image: truncated(encode(image, "JPEG")), "it does not decode: image file is truncated"),
        (lambda encode, image: truncated(encode(image, "PNG")), "it does not decode: image file is truncated"),
        (lambda encode, image: truncated(encode(image, "GIF")), "it does not decode: image file is truncated"),
        (lambda encode, image: truncated(encode(image, "BMP")), "it does not decode: image file is truncated"),
        (lambda encode, image: truncated(encode(image, "WEBP")), "it does not decode"),
        (lambda encode, image: truncated(encode(image, "TIFF")), "it does not decode|not a JPEG"),
        (lambda encode, image: encode(image, "PPM"), "not a JPEG, PNG, WebP, BMP, GIF or TIFF"),
        (lambda encode, image: encode(image, "ICO"), "not a JPEG, PNG, WebP, BMP, GIF or TIFF"),
        (lambda encode, image: encode(image, "EPS"), "not a JPEG, PNG, WebP, BMP, GIF or TIFF"),
    ],
)
def test_what_does_not_decode_has_a_reason(draw, encode, data, reason):
    with pytest.raises(UnreadableImageError, match=f"^({reason})"):
        decode(data(encode, draw(8, size=(300, 200))))


@pytest.mark.parametrize("form", FORMATS)
def test_the_name_is_not_asked_what_the_format_is(draw, encode, form):
    """A GIF named .jpg is a GIF: only the bytes count, and every listed format is known by them."""
    assert decode(encode(draw(9), form)).shape == (SIZE, SIZE, 3)


@pytest.mark.parametrize(
    "size", [(20_000, 20_000), (2**31 - 1, 2**31 - 1), (MEMORY_BUDGET, 1), (1, MEMORY_BUDGET // 4 // SIZE + 1)]
)
def test_a_decompression_bomb_is_unreadable(encode, size):
    with pytest.raises(
        UnreadableImageError, match=r"pixels|would take [\d,]+ bytes to decode, more than 1,006,632,960"
    ):
        decode(bomb(encode, *size))


def test_squares_of_one_decoding_are_those_of_one_each(draw, encode):
    data = encode(draw(1, size=(300, 200)).convert("RGBA"))
    resized = decode_resized(data, (160, SIZE, 512))
    assert {size: square.tobytes() for size, square in resized.items()} == {
        size: decode(data, size).tobytes() for size in (160, SIZE, 512)
    }


def test_the_largest_of_several_squares_decides_whether_there_is_room(draw, encode, monkeypatch):
    monkeypatch.setattr(images, "MEMORY_BUDGET", 2 << 20)
    data = encode(draw(1, size=(1, 2_000)).convert("L"))
    assert decode_resized(data, (160, SIZE)).keys() == {160, SIZE}
    with pytest.raises(UnreadableImageError, match=r"1x2000 would take 4,\d+,\d+ bytes to decode, more than 2,097,152"):
        decode_resized(data, (512, 160))


def test_a_limit_of_pixels_that_a_user_lifted_for_pillow_is_kept_here(encode, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(UnreadableImageError, match="20000x20000 would take 1,617,920,067 bytes"):
        decode(bomb(encode, 20_000, 20_000))


def test_an_image_that_pillow_only_warns_of_is_decoded(encode):
    assert (decode(encode(Image.new("L", (9_500, 9_500), 77), compress_level=1), 5) == 77).all()


def test_too_little_memory_is_not_taken_for_a_bad_image(tmp_path, encode):
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


def test_a_jpeg_of_several_scans_is_known_by_the_header_of_its_first(draw, encode):
    from catsdogs.images.memory import _has_one_scan

    thumbnail = b"Exif\0\0" + encode(draw(2), "JPEG")
    plain = encode(draw(1, size=(640, 480)), "JPEG")
    interleaved, of_one = b"\xff\xda\x00\x0c\x03\x01\x00\x02\x11\x03\x11", b"\xff\xda\x00\x08\x01\x01\x00"
    assert interleaved in plain
    for data, wanted in (
        (plain, True),
        (encode(draw(1, size=(640, 480)), "JPEG", exif=thumbnail, quality=60), True),
        (encode(draw(1, size=(640, 480)), "JPEG", progressive=True), False),
        (plain.replace(interleaved, of_one), False),
    ):
        with Image.open(io.BytesIO(data + data)) as image:  # a second picture behind the first is none of its scans
            assert _has_one_scan(image, data + data) == wanted


def test_a_file_of_several_jpegs_is_not_known_by_what_stands_at_its_end(draw, encode):
    from catsdogs.images.memory import _has_one_scan

    data = encode(draw(1), "MPO", save_all=True, append_images=[draw(2)]) + bytes([0, 12, 3]) + bytes(9)
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "MPO"
        assert not _has_one_scan(image, data)


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
def test_the_largest_images_of_every_kind_decoded_by_threads_take_a_gibibyte_in_all(tmp_path, encode):
    grey = Image.linear_gradient("L")
    for name, (mode, size, form, options) in LARGE.items():
        exif = Image.Exif()
        exif[0x0112] = options.get("turned", 1)
        options = {option: value for option, value in options.items() if option != "turned"}
        (tmp_path / name).write_bytes(encode(grey.resize(size).convert(mode), form, exif=exif, **options))
    paths = sorted(tmp_path.iterdir())
    alone = [int(subprocess.check_output([sys.executable, "-c", PEAK, path])) for path in paths]
    together = int(subprocess.check_output([sys.executable, "-c", PEAK, *paths]))
    print({path.name: f"{taken >> 20} MiB" for path, taken in zip(paths, alone, strict=True)}, together >> 20)
    assert max(*alone, together) < 1 << 30


def test_heavy_files_that_take_most_of_the_room_do_not_wait_for_each_other_for_ever(draw, encode):
    heavy = encode(Image.new("L", (11_000, 11_000), 77), compress_level=1).ljust(250 << 20, b"\0")
    light = encode(draw(1))

    def see(data):
        with reserve_memory(len(data)) as reserved:
            return decode(data, 5, reserved=reserved).tobytes()

    threads = ThreadPoolExecutor(8)
    try:
        found = [threads.submit(see, data) for data in [heavy, light, light] * 3]
        assert [future.result(timeout=60) for future in found] == [
            bytes([77] * 75),
            *[decode(light, 5).tobytes()] * 2,
        ] * 3
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def test_threads_decode_what_one_thread_decodes(draw, encode):
    forms = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")
    files = [encode(draw(seed, size=(120, 90)), forms[seed % 6]) for seed in range(36)]
    alone = [decode(data).tobytes() for data in files]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda data: decode(data).tobytes(), files * 4))
    assert together == alone * 4


def remarkable(draw, encode):
    """Return files of which Pillow or its libtiff have something to say: a warning, a log line, a line on stderr."""
    exif = Image.Exif()
    exif[0x010E] = "a description"
    with_tags = encode(draw(1), "TIFF", exif=exif)
    packed = encode(draw(1), "TIFF", compression="tiff_lzw")
    many_samples = with_tags.replace(struct.pack("<HHII", 277, 3, 1, 3), struct.pack("<HHII", 277, 4, 1, 2**31))
    assert many_samples != with_tags
    return {
        "tag behind the end": with_tags.replace(
            struct.pack("<HHI", 0x010E, 2, 14), struct.pack("<HHI", 0x010E, 2, 9999)
        ),
        "many samples": many_samples,
        "broken LZW": packed[:20] + bytes(40) + packed[60:],
        "cut": with_tags[: len(with_tags) // 2],
        "bomb": bomb(encode, 9_500, 9_500),
        "palette": encode(draw(1).quantize(9), "PNG", transparency=b"\x00\x80"),
        "frames": encode(draw(1), "PNG").replace(b"IDAT", b"acTL", 1),
    }


def outcome(data):
    try:
        return decode(data, 6).tobytes()
    except UnreadableImageError as error:
        return str(error)


def test_nothing_that_pillow_has_to_say_reaches_the_terminal(tmp_path, draw, encode):
    paths = [tmp_path / name for name in remarkable(draw, encode)]
    for path, data in zip(paths, remarkable(draw, encode).values(), strict=True):
        path.write_bytes(data)
    script = """
import pathlib, sys
from catsdogs.images.decoding import UnreadableImageError, decode
for path in sys.argv[1:]:
    try:
        decode(pathlib.Path(path).read_bytes())
    except UnreadableImageError:
        pass
"""
    command = [sys.executable, "-W", "always", "-c", script, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_those_remarks_are_there_to_be_kept_away(tmp_path, draw, encode):
    """Without this, the test above might try files of which there is nothing to say."""
    script = """
import io, pathlib, sys
from PIL import Image
for path in sys.argv[1:]:
    try:
        Image.open(io.BytesIO(pathlib.Path(path).read_bytes())).load()
    except Exception:
        pass
"""
    said = {}
    for name, data in remarkable(draw, encode).items():
        (tmp_path / name).write_bytes(data)
        command = [sys.executable, "-W", "always", "-c", script, tmp_path / name]
        said[name] = subprocess.run(command, capture_output=True, text=True).stderr
    assert "Warning" in said["bomb"]
    assert "LZWDecode" in said["broken LZW"] or "tempfile.tif" in said["broken LZW"]
    assert "More samples per pixel" in said["many samples"]
    assert "Warning" in said["tag behind the end"]


@pytest.mark.parametrize("action", ["error", "always", "ignore"])
def test_a_users_own_filters_of_warnings_change_no_pixel(draw, encode, action):
    files = list(remarkable(draw, encode).values())
    alone = [outcome(data) for data in files]
    with ThreadPoolExecutor(4) as threads, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter(action)
        assert list(threads.map(outcome, files * 3)) == alone * 3
    assert said == []


FORMS = st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])


def test_damaged_bytes_are_pixels_or_a_reason_and_never_a_word_on_the_terminal(draw, encode, capfd):
    @settings(max_examples=300)
    @given(FORMS, st.sampled_from(["RGB", "L", "P", "1"]), st.data())
    def attempt(form, mode, data):
        image = draw(2).convert("L" if (form, mode) == ("JPEG", "P") else mode)
        content = bytearray(encode(image, form))
        for _ in range(data.draw(st.integers(0, 5))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        result = outcome(bytes(content[: data.draw(st.integers(0, len(content)))]))
        assert result
        # Reasons are kept in the cache, which is the same on every run: no address of an object is in them.
        assert isinstance(result, bytes) or " at 0x" not in result

    attempt()
    assert capfd.readouterr() == ("", "")


def test_a_thread_decodes_a_hundred_photographs_a_second(draw, encode):
    random = np.random.default_rng(0)
    grain = random.normal(0, 9, (375, 500, 3))
    image = Image.fromarray(np.clip(draw(1, size=(500, 375)) + grain, 0, 255).astype(np.uint8))
    data = encode(image, "JPEG", quality=90)
    decode(data)
    start = time.thread_time()
    for _ in range(30):
        decode(data)
    # Processor time, so that a busy machine fails no test; about 400 a second where this was written.
    assert 30 / (time.thread_time() - start) > 100


def test_thousands_of_damaged_pictures_of_every_form_are_pixels_or_a_reason(capfd):
    verdicts = [verdict(data) for data in itertools.islice(mutants(0), 4000)]
    decoded = verdicts.count("pixels")
    assert 400 < decoded < 3600  # neither is all refused, nor is the damage too small to be seen
    assert len({reason.split(":")[0] for reason in verdicts}) > 3
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("size", "shape"), [((640, 480), (240, 320)), ((30, 40), (40, 30)), ((320, 320), (320, 320)), ((2000, 3), (1, 320))]
)
def test_what_is_shown_to_people_keeps_its_proportions_and_is_never_enlarged(draw, encode, size, shape):
    assert decode_thumbnail(encode(draw(1, size=size)), 320).shape == (*shape, 3)


def test_what_is_shown_to_people_has_the_pixels_that_the_network_sees(draw, encode):
    data = encode(draw(1, size=(500, 500)), "JPEG")
    np.testing.assert_array_equal(decode_thumbnail(data, 224), decode(data, 224))
    with pytest.raises(UnreadableImageError, match="the file is empty"):
        decode_thumbnail(b"", 320)
