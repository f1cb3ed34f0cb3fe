import io
import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from support.fuzz_images import mutants, verdict
from support.pictures import pixels_or_reason

from catsdogs.images.decoding import SIZE, UnreadableImageError, decode, decode_resized, decode_thumbnail

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("path", sorted(set(GOLDEN.iterdir()) - {GOLDEN / "expected.npz"}), ids=lambda path: path.name)
def test_golden_images_keep_their_pixels(path):
    """Caches depend on these pixels: to change them, change the identity of the pixels too."""
    with np.load(GOLDEN / "expected.npz") as expected:
        np.testing.assert_array_equal(decode(path.read_bytes(), 6), expected[path.name])


def bicubic(length, size):
    """Weights (size, length) of Keys' bicubic with a = -0.5, widened by the scale (Keys 1981; Pillow's Resample.c)."""
    scale = length / size
    x = np.abs((np.arange(length) + 0.5 - (np.arange(size)[:, None] + 0.5) * scale) / max(scale, 1))
    weights = np.where(x < 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("size", [(640, 480), (91, 333), (224, 224), (30, 20), (1, 1), (1, 3000), (3000, 1)])
def test_an_image_is_resized_to_the_square_by_antialiased_bicubic(draw, encode, size):
    image = draw(3, size=size)
    rows, columns = bicubic(size[1], SIZE), bicubic(size[0], SIZE)
    want = np.einsum("yh,hwc,xw->yxc", rows, np.asarray(image, float), columns, optimize=True)
    pixels = decode(encode(image))
    assert pixels.shape == (SIZE, SIZE, 3)
    assert np.abs(pixels - np.clip(want, 0, 255)).max() < 1.5  # Pillow rounds after either direction


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
def test_an_invalid_orientation_is_ignored(draw, encode, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode(encode(draw(7), exif=exif)), decode(encode(draw(7))))


@pytest.mark.parametrize(
    "block", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_an_image_with_a_broken_exif_block_is_decoded(draw, encode, block):
    np.testing.assert_array_equal(decode(encode(draw(7), "JPEG", exif=block)), decode(encode(draw(7), "JPEG")))


def test_an_image_whose_exif_block_is_not_hexadecimal_is_decoded(draw, encode):
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Raw profile type exif", "\nexif\n4\nno number")
    np.testing.assert_array_equal(decode(encode(draw(7), pnginfo=notes)), decode(encode(draw(7))))


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_the_first_frame_of_an_animation_is_decoded(encode, form):
    frames = [Image.new("RGB", (9, 7), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    options = {"WEBP": {"lossless": True}, "MPO": {"quality": 100}}.get(form, {})
    data = encode(frames[0], form, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.n_frames) == (form, 3)
    assert np.abs(decode(data, 5).astype(int) - (250, 0, 0)).max() <= 2


def test_the_default_image_of_an_animated_png_is_decoded_if_it_is_no_frame(encode):
    frames = [Image.new("RGB", (9, 7), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    data = encode(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True)
    assert np.all(decode(data, 5) == (250, 0, 0))


LAST_FRAME = {"GIF": b"!\xf9", "WEBP": b"ANMF", "PNG": b"fcTL"}


@pytest.mark.parametrize("form", LAST_FRAME)
def test_a_hundred_thousand_further_frames_are_not_looked_at(encode, form):
    """To look at them takes a minute."""
    frames = [Image.new("RGB", (64, 64), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    options = {"lossless": True} if form == "WEBP" else {}
    data = encode(frames[0], form, save_all=True, append_images=frames[1:], **options)
    start = data.rindex(LAST_FRAME[form]) - (4 if form == "PNG" else 0)
    end = {"GIF": len(data) - 1, "WEBP": len(data), "PNG": len(data) - 12}[form]
    many = data[:start] + 100_000 * data[start:end] + data[end:]
    if form == "WEBP":
        many = many[:4] + (len(many) - 8).to_bytes(4, "little") + many[8:]
    np.testing.assert_array_equal(decode(many, 5), decode(data, 5))


def truncated(data):
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (lambda encode, image: b"", "the file is empty"),
        (lambda encode, image: b"a text named cat.1.jpg", "not a JPEG, PNG, WebP, BMP, GIF or TIFF"),
        (lambda encode, image: b"\xff\xd8\xff", "the file cannot be decoded"),
        (lambda encode, image: truncated(encode(image, "JPEG")), "the file cannot be decoded: image file is truncated"),
        (lambda encode, image: truncated(encode(image, "PNG")), "the file cannot be decoded: image file is truncated"),
        (lambda encode, image: truncated(encode(image, "GIF")), "the file cannot be decoded: image file is truncated"),
        (lambda encode, image: truncated(encode(image, "BMP")), "the file cannot be decoded: image file is truncated"),
        (lambda encode, image: truncated(encode(image, "WEBP")), "the file cannot be decoded"),
        (lambda encode, image: truncated(encode(image, "TIFF")), "the file cannot be decoded|not a JPEG"),
        (lambda encode, image: encode(image, "PPM"), "not a JPEG, PNG, WebP, BMP, GIF or TIFF"),
        (lambda encode, image: encode(image, "ICO"), "not a JPEG, PNG, WebP, BMP, GIF or TIFF"),
        (lambda encode, image: encode(image, "EPS"), "not a JPEG, PNG, WebP, BMP, GIF or TIFF"),
    ],
)
def test_bytes_that_cannot_be_decoded_have_a_reason(draw, encode, data, reason):
    with pytest.raises(UnreadableImageError, match=f"^({reason})"):
        decode(data(encode, draw(8, size=(300, 200))))


def test_several_sizes_of_one_decoding_equal_those_decoded_one_by_one(draw, encode):
    data = encode(draw(1, size=(300, 200)).convert("RGBA"))
    resized = decode_resized(data, (160, SIZE, 512))
    assert {size: square.tobytes() for size, square in resized.items()} == {
        size: decode(data, size).tobytes() for size in (160, SIZE, 512)
    }


def test_threads_decode_what_one_thread_decodes(draw, encode):
    forms = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")
    files = [encode(draw(seed, size=(120, 90)), forms[seed % 6]) for seed in range(36)]
    alone = [decode(data).tobytes() for data in files]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda data: decode(data).tobytes(), files * 4))
    assert together == alone * 4


FORMS = st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])


def test_damaged_bytes_are_pixels_or_a_reason_and_nothing_is_printed(draw, encode, capfd):
    @settings(max_examples=3 * settings.default.max_examples)
    @given(FORMS, st.sampled_from(["RGB", "L", "P", "1"]), st.data())
    def attempt(form, mode, data):
        image = draw(2).convert("L" if (form, mode) == ("JPEG", "P") else mode)
        content = bytearray(encode(image, form))
        for _ in range(data.draw(st.integers(0, 5))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        result = pixels_or_reason(bytes(content[: data.draw(st.integers(0, len(content)))]))
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


@pytest.mark.parametrize("count", [1200, pytest.param(4000, marks=pytest.mark.slow)])
def test_damaged_images_of_every_format_are_pixels_or_a_reason(capfd, count):
    verdicts = [verdict(data) for data in itertools.islice(mutants(0), count)]
    decoded = verdicts.count("pixels")
    assert 0.1 * count < decoded < 0.9 * count  # neither is all refused, nor is the damage too small to be seen
    assert len({reason.split(":")[0] for reason in verdicts}) > 3
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("size", "shape"), [((640, 480), (240, 320)), ((30, 40), (40, 30)), ((320, 320), (320, 320)), ((2000, 3), (1, 320))]
)
def test_a_thumbnail_keeps_its_proportions_and_is_never_enlarged(draw, encode, size, shape):
    assert decode_thumbnail(encode(draw(1, size=size)), 320).shape == (*shape, 3)


def test_a_thumbnail_has_the_pixels_that_the_network_sees(draw, encode):
    data = encode(draw(1, size=(500, 500)), "JPEG")
    np.testing.assert_array_equal(decode_thumbnail(data, 224), decode(data, 224))
    with pytest.raises(UnreadableImageError, match="the file is empty"):
        decode_thumbnail(b"", 320)
