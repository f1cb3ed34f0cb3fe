import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from catsdogs.images.decoding import decode


def one_colour(mode, colour):
    return Image.new(mode, (9, 7), colour)


def array(values):
    return Image.fromarray(np.full((7, 9), *values))


def png(colour_type, depth, samples, transparent=b""):
    """Return a PNG (ISO/IEC 15948) of 9x7 equal pixels, in a form that Pillow reads but does not write."""

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


def test_a_grey_image_has_the_pixels_of_the_same_image_in_rgb(draw, encode):
    grey = draw(4, size=(300, 200)).convert("L")
    np.testing.assert_array_equal(decode(encode(grey)), decode(encode(grey.convert("RGB"))))


def test_profiles_of_rgb_and_grey_images_are_ignored(draw, encode):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    for image in (draw(5), draw(5).convert("L")):
        np.testing.assert_array_equal(decode(encode(image, icc_profile=profile)), decode(encode(image)))
