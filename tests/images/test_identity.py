import hashlib

import numpy as np
import PIL
import pytest
from PIL import Image
from support.codec_samples import read_samples

from catsdogs.images import codecs, identity
from catsdogs.images.codecs import FORMATS
from catsdogs.images.decoding import SIZE, decode, decode_thumbnail

MAJOR = PIL.__version__.partition(".")[0]

DECODED = {
    "420.jpg": "5c03ac70",
    "422_progressive.jpg": "f94ba186",
    "bilevel.tif": "408e3e7f",
    "cmyk.jpg": "2b60a44a",
    "cmyk.tif": "4bda760a",
    "float.tif": "58212526",
    "grey.jpg": "627b9283",
    "grey.png": "58212526",
    "grey16.png": "58212526",
    "grey16.tif": "58212526",
    "grey_alpha.png": "c1c1ecb1",
    "group4.tif": "218fa0f6",
    "int32.tif": "58212526",
    "lossless.webp": "b45ed83a",
    "lossy.webp": "caaf079a",
    "lossy_alpha.webp": "076e07ec",
    "lzw.tif": "b45ed83a",
    "noise.png": "dca60051",
    "palette.gif": "a5771f66",
    "palette8.tif": "c7042de4",
    "palette_alpha.png": "d5c0e4a9",
    "partial.gif": "a31ff772",
    "partial.webp": "3e90e0ec",
    "planar16.tif": "46011b94",
    "premultiplied.tif": "9e8ecc58",
    "rgb.bmp": "4bda760a",
    "rgb.png": "4bda760a",
    "rgba.png": "985b41b5",
    "turned.jpg": "288bb805",
    "turned.tif": "911fa556",
    "ycbcr.tif": "87380512",
    "zero_alpha.bmp": "df8c16b6",
}
"""SHA-256 of what each file decodes to, by Pillow 12.3 and 13.0 alike: the first eight digits."""

DECODERS = "fe0c63fc"

RESIZED = {"12": "width first", "13": "height first where tall"}


def digest(pixels):
    return hashlib.sha256(pixels.tobytes()).hexdigest()[:8]


@pytest.fixture
def identity_anew():
    """The function without its cached result."""
    return identity.pixels.__wrapped__


def test_the_samples_have_all_formats_and_are_so_small_that_they_take_little_time():
    samples = read_samples()
    assert {codecs.find_format(data) for data in samples.values()} == set(FORMATS)
    assert sum(map(len, samples.values())) < 18_000
    assert sum(decode_thumbnail(data, 96).size // 3 for data in samples.values()) < 14_000


def test_the_samples_decode_to_known_pixels():
    """Caches depend on these pixels. If a codec has changed, its version shows it, and the new digest goes here."""
    assert {name: digest(decode_thumbnail(data, 96)) for name, data in read_samples().items()} == DECODED


def test_the_identity_is_the_rules_and_then_the_decoders():
    rules, _, decoders = identity.pixels().rpartition(", decoded as ")
    assert rules.endswith(f"other profiles ignored, resized by antialiased bicubic {RESIZED[MAJOR]}")
    assert decoders == DECODERS
    assert identity.resizing_rules(identity.pixels()) == rules


def test_tall_images_are_resized_as_the_identity_says(encode):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (290, 154, 3), np.uint8))
    first = (SIZE, image.height) if "width first" in identity.pixels() else (image.width, SIZE)
    want = image.resize(first, Image.Resampling.BICUBIC).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(decode(encode(image)), np.asarray(want))


def one_level_off(name):
    """Return a decoder that changes one pixel of one sample by one level."""
    data = read_samples()[name]

    def decode_otherwise(of, side):
        pixels = decode_thumbnail(of, side).copy()
        if of == data:
            pixels[-1, -1, -1] ^= 1
        return pixels

    return decode_otherwise


@pytest.mark.parametrize("name", read_samples())
def test_one_pixel_decoded_differently_means_another_decoder(identity_anew, monkeypatch, name):
    monkeypatch.setattr(identity, "decode_thumbnail", one_level_off(name))
    other = identity_anew()
    assert other != identity.pixels()
    assert identity.resizing_rules(other) == identity.resizing_rules(identity.pixels())


def test_a_decoder_that_pillow_is_missing_means_another_decoder(identity_anew, monkeypatch):
    monkeypatch.setattr(codecs, "FORMATS", ("JPEG", "PNG", "BMP", "GIF", "TIFF"))
    other = identity_anew()
    assert other != identity.pixels()
    assert identity.resizing_rules(other) == identity.resizing_rules(identity.pixels())


def resized(first_width, name="BICUBIC"):
    """Return a `resize` by this filter, in the order that a function of the image's size returns."""

    def resize(image, size):
        first = (size[0], image.height) if first_width(*image.size) else (image.width, size[1])
        for of in (first, size):
            image = image.resize(of, Image.Resampling[name])
        return np.asarray(image.convert("RGB"))

    return resize


ORDERS = {
    "width first": lambda width, height: True,
    "height first where tall": lambda width, height: height / width < 1.5 or (width, height) == (32, 48),
    "in the order wwhhh": lambda width, height: height <= width,
    "in the order hhwww": lambda width, height: height > width,
}


@pytest.mark.parametrize("order", ORDERS)
def test_another_order_of_resizing_means_other_rules_not_other_decoders(identity_anew, monkeypatch, order):
    monkeypatch.setattr(identity, "resize", resized(ORDERS[order]))
    rules, _, decoders = identity_anew().rpartition(", decoded as ")
    assert rules.endswith(f"resized by antialiased bicubic {order}")
    assert decoders == DECODERS


@pytest.mark.parametrize("name", ["BILINEAR", "LANCZOS", "HAMMING", "BOX", "NEAREST"])
def test_another_filter_means_other_rules(identity_anew, monkeypatch, name):
    monkeypatch.setattr(identity, "resize", resized(ORDERS["width first"], name))
    assert identity.resizing_rules(identity_anew()).endswith("resized by another filter width first")


def test_the_versions_of_pillow_and_its_codecs_are_returned():
    versions = identity.codec_versions()
    assert versions["pillow"] == PIL.__version__
    assert set(versions) >= {"libjpeg_turbo", "libtiff", "webp", "zlib"}
    assert all(version[0].isdigit() for version in versions.values())
