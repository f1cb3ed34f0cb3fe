"""Pictures that other decoders show, which Pillow alone refuses, decodes to something else, or takes very long for."""

import contextlib
import io
import re
import struct
import time
import zlib
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin
from support.pictures import bmp, partial, tiff

from catsdogs.images.containers import strip
from catsdogs.images.decoding import UnreadableImageError, decode
from catsdogs.images.jpeg import MAX_SCANS, find_scans, in_parts

SOI = b"\xff\xd8"


@pytest.fixture(scope="module")
def photo(draw):
    return draw(5, size=(160, 120))


def segment(marker, content):
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def chunk(kind, content, crc=None):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc or zlib.crc32(kind + content))


def insert(png, *chunks):
    """Return a PNG with further chunks behind its header."""
    return png[:33] + b"".join(chunks) + png[33:]


ORIENTED = Image.Exif()
ORIENTED[0x0112] = 6


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk(b"tEXt", b"Comment\0text", crc=1)],
        [chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2 << 20)))],
        [chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(2 << 20)))],
        [chunk(b"iTXt", b"no end of the keyword")],
        [chunk(b"iTXt", b"\xff\0\1\0\0\0" + zlib.compress(b"x")[:-4])],
        [chunk(b"iCCP", b"profile\0\0no zlib", crc=1)],
        [chunk(b"iCCP", b"profile\0\7")],
        [chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(2 << 20)))],
        [chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(bytes(9 << 20))[:-8])],
        [chunk(b"iTXt", b"Raw profile type exif\0\1\0\0\0" + zlib.compress(bytes(2 << 20)))],
        [chunk(b"eXIf", ORIENTED.tobytes()[6:], crc=1)],
        [chunk(b"tRNS", bytes(6), crc=1)],
        [chunk(b"gAMA", b"")],
        [chunk(b"pHYs", b"1")],
        [chunk(b"acTL", b"")],
        [chunk(b"fcTL", bytes(26)), chunk(b"fcTL", bytes(26))],
        [chunk(b"tEXt", b"k\0" + bytes(65536))] * 1500,
    ],
    ids=lambda chunks: f"{len(chunks)} {chunks[0][4:8].decode()} of {len(chunks[0])} bytes",
)
def test_what_a_png_holds_beside_the_picture_does_not_make_it_unreadable(photo, encode, chunks):
    png = encode(photo)
    np.testing.assert_array_equal(decode(insert(png, *chunks)), decode(png))
    behind = png[:-12] + b"".join(chunks) + png[-12:]
    np.testing.assert_array_equal(decode(behind), decode(png))


def test_a_png_whose_last_text_is_cut_is_decoded(photo, encode):
    png = encode(photo)
    np.testing.assert_array_equal(decode(png[:-12] + chunk(b"tEXt", b"k\0text")[:-9]), decode(png))


def test_a_png_whose_data_do_not_match_their_checksum_is_unreadable(draw, encode):
    png = encode(draw(7, size=(320, 240)))
    end = png.rindex(b"IEND") - 8  # of the data, before their checksum
    for at in (end - 20, end - 5, end - 1, len(png) // 2):
        with pytest.raises(UnreadableImageError, match="the image data do not match their checksum"):
            decode(png[:at] + bytes([png[at] ^ 64]) + png[at + 1 :])
    np.testing.assert_array_equal(decode(png[: end + 2]), decode(png))


@pytest.mark.parametrize("kind", ["eXIf", "Raw profile type exif"])
def test_the_orientation_in_a_png_is_applied(photo, encode, kind):
    block = ORIENTED.tobytes()
    png = encode(photo)
    if kind == "eXIf":
        turned = insert(png, chunk(b"eXIf", block[6:]))
    else:
        text = f"Raw profile type exif\0\nexif\n{len(block):8}\n{block.hex()}\n".encode()
        turned = insert(png, chunk(b"tEXt", text))
    np.testing.assert_array_equal(decode(turned), decode(encode(photo.transpose(Image.Transpose.ROTATE_270))))


XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_orientation_in_xmp_alone_is_ignored_as_in_browsers(photo, encode, form):
    plain = encode(photo, form)
    if form == "PNG":
        with_xmp = insert(plain, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP))
    elif form == "TIFF":
        with_xmp = encode(photo, form, tiffinfo={700: XMP})
    else:
        with_xmp = encode(photo, form, xmp=XMP)
    with Image.open(io.BytesIO(with_xmp)) as image:
        assert image.getexif()[0x0112] == 6
    np.testing.assert_array_equal(decode(with_xmp), decode(plain))


@pytest.mark.parametrize(
    "segments",
    [
        segment(0xE0, b"JFIF\0"),
        segment(0xE0, b"JFIF\0\1"),
        segment(0xE0, b""),
        segment(0xEE, b"Adobe"),
        segment(0xE2, b"ICC_PROFILE\0\1"),
        segment(0xE2, b"MPF\0garbage"),
        segment(0xED, b"Photoshop 3.0\x008BIM"),
        segment(0xFE, bytes(65000)) * 200,
        segment(0xE1, b"Exif\0\0" + bytes(65000)) * 400,
        b"\xff\xff\xff" + segment(0xFE, b"padded"),
    ],
    ids=lambda segments: f"{len(segments)} bytes of {segments[1]:x}",
)
def test_what_a_jpeg_holds_beside_the_picture_does_not_make_it_unreadable(photo, encode, segments):
    jpeg = encode(photo, "JPEG")
    start = time.thread_time()
    np.testing.assert_array_equal(decode(SOI + segments + jpeg[2:]), decode(jpeg))
    assert time.thread_time() - start < 1


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 20}, {"restart_marker_blocks": 5}])
def test_a_jpeg_without_end_is_read_only_where_all_pixels_are_there(photo, encode, options):
    jpeg = encode(photo, "JPEG", **options)
    assert jpeg.endswith(b"\xff\xd9")
    for end in (-1, -2):
        np.testing.assert_array_equal(decode(jpeg[:end]), decode(jpeg))
    for end in (-3, -4, -5, -10, -100, len(jpeg) // 2):
        try:
            pixels = decode(jpeg[:end])
        except UnreadableImageError as error:
            assert str(error).startswith("the file cannot be decoded")  # noqa: PT017
        else:
            np.testing.assert_array_equal(pixels, decode(jpeg))
            assert end > -6
    with pytest.raises(UnreadableImageError, match="the file cannot be decoded: image file is truncated"):
        decode(jpeg[: len(jpeg) * 2 // 3])


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"optimize": True, "subsampling": 0}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_whose_end_marker_comes_too_early_is_unreadable(draw, encode, mode, options, progressive):
    picture = draw(7, size=(320, 240)).convert(mode)
    options = {**options, "progressive": progressive}
    jpeg = encode(picture, "JPEG", quality=92, **options)
    for share in (0.3, 0.6, 0.8, 0.99):
        data = jpeg[: int(len(jpeg) * share)].rstrip(b"\xff") + b"\xff\xd9"
        with pytest.raises(UnreadableImageError, match="truncated"):
            decode(data)
    picture.paste(0, (0, 100, 320, 240))  # the lower part of one colour is no fault
    np.testing.assert_array_equal(
        decode(encode(picture, "JPEG", **options))[-1], decode(encode(picture, "PNG" if mode != "CMYK" else "TIFF"))[-1]
    )


def test_a_scan_that_lacks_data_makes_a_jpeg_unreadable_whichever_it_is(draw, encode):
    jpeg = encode(draw(7, size=(320, 240)), "JPEG", progressive=True)
    scans, _ = find_scans(jpeg)
    assert len(scans) == 10
    for _, end in scans:
        with pytest.raises(UnreadableImageError, match="truncated"):
            decode(jpeg[: end - 60].rstrip(b"\xff") + jpeg[end:])


@pytest.mark.parametrize("options", [{"progressive": True}, {}])
@pytest.mark.parametrize("ending", [b"\xff\xd9", b""])
def test_an_interval_that_lacks_data_makes_a_jpeg_unreadable_whichever_it_is(draw, encode, options, ending):
    jpeg = encode(draw(7, size=(320, 240)), "JPEG", quality=92, restart_marker_rows=2, **options)[:-2] + ending
    for start, end in find_scans(jpeg)[0]:
        restarts = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", jpeg[:end]) if found.start() > start]
        assert len(restarts) >= 7
        for marker, following in pairwise((*restarts, end)):
            for data in (jpeg[: marker - 20].rstrip(b"\xff") + jpeg[marker:], jpeg[:marker] + jpeg[following:]):
                with pytest.raises(UnreadableImageError, match="truncated"):
                    decode(data)


@pytest.mark.parametrize("options", [{"progressive": True}, {}])
def test_only_so_many_restarts_are_looked_at_but_the_end_of_each_scan(draw, encode, monkeypatch, options):
    jpeg = encode(draw(7, size=(320, 240)), "JPEG", quality=92, restart_marker_blocks=3, **options)
    scans, _ = find_scans(jpeg)
    expected, parts = decode(jpeg), len([*in_parts(jpeg, scans)])
    assert parts > 2 * 100 * len(scans)
    monkeypatch.setattr("catsdogs.images.jpeg._MAX_RESTARTS", 10)
    assert len([*in_parts(jpeg, scans)]) <= 2 * 10 + 4 * len(scans) + 1
    np.testing.assert_array_equal(decode(jpeg), expected)
    for _, end in scans:
        last = jpeg.rindex(b"\xff", 0, end - 10)
        for place in (last, end - 200):
            with pytest.raises(UnreadableImageError, match="truncated"):
                decode(jpeg[:place].rstrip(b"\xff") + jpeg[end:])


@pytest.mark.parametrize("options", [{"progressive": True}, {}])
def test_what_fills_up_a_scan_is_no_fault(photo, encode, options):
    jpeg = encode(photo, "JPEG", **options)
    for _, end in reversed(find_scans(jpeg)[0]):
        for more in (b"\xff\xff", bytes(50), b"\xff\xd3", bytes(range(200))):
            np.testing.assert_array_equal(decode(jpeg[:end] + more + jpeg[end:]), decode(jpeg))


def test_a_sequential_jpeg_that_names_no_coefficients_is_decoded(photo, encode):
    jpeg = encode(photo, "JPEG")
    ((start, _),) = find_scans(jpeg)[0]
    named = start + 5 + 2 * 3
    assert jpeg[named : named + 3] == b"\0\x3f\0"
    np.testing.assert_array_equal(decode(jpeg[:named] + bytes(3) + jpeg[named + 3 :]), decode(jpeg))


MARKERS = {
    "a comment": b"\xff\xfe\0\4",
    "no use": b"\xff\1",
    "a restart": b"\xff\xd3",
    "a length": b"\xff\xdc\0\4\0\x78",
}


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("marker", MARKERS)
def test_no_marker_hides_that_a_scan_lacks_data(draw, encode, marker, progressive):
    jpeg = encode(draw(7, size=(320, 240)), "JPEG", progressive=progressive)
    for start, end in find_scans(jpeg)[0]:
        middle = (start + 20 + end) // 2
        for content in (
            jpeg[:middle] + MARKERS[marker] + jpeg[middle:],
            jpeg[: end - 60] + MARKERS[marker] + jpeg[end:],
        ):
            with pytest.raises(UnreadableImageError, match=r"truncated$|broken"):
                decode(content)
    for ending in (b"ab", b"ab\xff\xd9"):
        with pytest.raises(UnreadableImageError, match=r"truncated$|broken"):
            decode(jpeg[:middle] + MARKERS[marker] + ending)


@pytest.mark.parametrize("options", [{"progressive": True}, {}, {"restart_marker_blocks": 5}])
@pytest.mark.parametrize("marker", MARKERS)
def test_a_marker_behind_the_last_scan_is_no_fault(photo, encode, marker, options):
    jpeg = encode(photo, "JPEG", **options)
    for content in (b"", b"ab"):
        for end in (b"", b"\xff\xd9"):
            np.testing.assert_array_equal(decode(jpeg[:-2] + MARKERS[marker] + content + end), decode(jpeg))


@pytest.mark.parametrize("missing", range(10))
def test_what_no_scan_has_is_missing_if_others_refine_it_or_there_is_no_end_marker(photo, encode, missing):
    """Of Pillow's ten scans, the first six are the colours of blocks, and what the last four refine."""
    jpeg = encode(photo, "JPEG", progressive=True)
    ends = [jpeg.index(b"\xff\xc4"), *(end for _, end in find_scans(jpeg)[0])]
    data = jpeg[: ends[missing]] + jpeg[ends[missing + 1] :]
    if missing < 6:
        with pytest.raises(UnreadableImageError, match="truncated"):
            decode(data)
        return
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(decode(data), decode(encode(image)))
    with pytest.raises(UnreadableImageError, match="truncated"):
        decode(data[:-2])


def test_a_jpeg_that_ends_before_its_last_bits_is_read(photo, encode):
    jpeg = encode(photo, "JPEG", progressive=True)
    for _, end in find_scans(jpeg)[0]:
        data = jpeg[:end] + b"\xff\xd9"
        with Image.open(io.BytesIO(data)) as image:
            np.testing.assert_array_equal(decode(data), decode(encode(image)))


def in_three_scans(photo, encode):
    """Return a sequential JPEG that has a scan for each component, and the ends of the scans."""
    grey = [encode(band, "JPEG") for band in photo.convert("YCbCr").split()]
    ((start, _),) = find_scans(grey[0])[0]
    frame = grey[0].index(b"\xff\xc0")
    head = grey[0][:frame] + grey[0][frame + 13 : start]
    components = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    jpeg, ends = head + segment(0xC0, grey[0][frame + 4 : frame + 9] + b"\3" + components), []
    for number, data in enumerate(grey, 1):
        jpeg += segment(0xDA, bytes([1, number, 0, 0, 63, 0])) + data[start + 10 : -2]
        ends.append(len(jpeg))
    return jpeg + b"\xff\xd9", ends


def test_a_component_without_a_scan_makes_a_jpeg_unreadable(photo, encode):
    jpeg, ends = in_three_scans(photo, encode)
    with Image.open(io.BytesIO(jpeg)) as image:
        np.testing.assert_array_equal(decode(jpeg), decode(encode(image)))
    for end in ends[:-1]:
        with pytest.raises(UnreadableImageError, match="truncated"):
            decode(jpeg[:end] + b"\xff\xd9")


@pytest.mark.parametrize("tables", [(0, 1), (11, 928)])
def test_what_an_arithmetic_coder_leaves_out_at_the_end_is_not_missing(tables):
    """Of 258,048 equal pixels above which are 4,096 others, libjpeg's coder keeps nine bytes.

    libjpeg's decoder cannot wait for the rest of them: Pillow gives it blocks of 65,536 bytes.
    """
    frame = segment(0xC9, bytes.fromhex("08 0200 0200 01 011100")) + segment(0xCC, bytes.fromhex("0010 1005"))
    scan = segment(0xDA, bytes.fromhex("01 0100 003f00")) + bytes.fromhex("d2cb29abc4fa55d2fc")
    wide, plain = segment(0xDB, b"\x10" + b"\0\1" * 64), segment(0xDB, b"\0" + b"\1" * 64)
    jpeg = SOI + wide * tables[0] + plain * tables[1] + frame + scan + b"\xff\xd9"
    assert len(jpeg) < 200 or len(jpeg) - 11 < 65536 < len(jpeg) - 2
    pixels = decode(jpeg, 512)
    assert (pixels[0] == 148).all()
    assert (pixels[-1] == 57).all()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 5}])
def test_bytes_between_segments_do_not_make_the_end_of_a_thumbnail_that_of_the_picture(draw, encode, options):
    picture = draw(7, size=(320, 240))
    picture.paste((255, 255, 255), (0, 100, 320, 240))
    jpeg, thumbnail = encode(picture, "JPEG", **options), encode(picture.resize((32, 24)), "JPEG")
    exif = segment(0xE1, ORIENTED.tobytes() + thumbnail)
    expected = decode(encode(picture, "JPEG", exif=ORIENTED.tobytes(), **options))
    for junk in (b"\0", b"\0\0abc", b"\xff\0\1", b"\xff\xd3", b"\xff\xff"):
        np.testing.assert_array_equal(decode(jpeg[:20] + junk + exif + jpeg[20:]), expected)
        np.testing.assert_array_equal(decode(jpeg[:20] + junk + exif + jpeg[20:-2]), expected)
    with pytest.raises(UnreadableImageError, match="truncated"):
        decode(jpeg[:20] + b"\0" + exif + jpeg[20 : len(jpeg) // 2])


def test_segments_before_the_exif_block_and_bytes_between_segments_change_nothing(photo, encode):
    exif = Image.Exif()
    exif[0x112] = 6
    jpeg = encode(photo, "JPEG", exif=exif.tobytes())
    assert not np.array_equal(decode(jpeg), decode(encode(photo, "JPEG")))
    for marker, content in ((0xE4, b"x" * 12), (0xEB, b"x" * 12), (0xEE, b"Adobe\0\x64\0\0\0\0\x01")):
        np.testing.assert_array_equal(decode(SOI + segment(marker, content) + jpeg[2:]), decode(jpeg))
    np.testing.assert_array_equal(decode(jpeg[:20] + b"\0\xe1\0\x08abcdef" + jpeg[20:]), decode(jpeg))


def test_a_cmyk_jpeg_without_adobes_marker_is_no_negative(photo, encode):
    jpeg = encode(photo.convert("CMYK"), "JPEG")
    marker = jpeg.index(b"\xff\xee")
    np.testing.assert_array_equal(decode(jpeg[:marker] + jpeg[marker + 16 :]), decode(jpeg))


def test_a_thumbnail_that_has_an_end_is_not_the_end_of_the_picture(photo, encode):
    exif = b"Exif\0\0" + encode(photo.resize((16, 12)), "JPEG")
    jpeg = encode(photo, "JPEG", exif=exif)
    np.testing.assert_array_equal(decode(jpeg[:-2]), decode(jpeg))
    with pytest.raises(UnreadableImageError, match="truncated"):
        decode(jpeg[:-200])


def test_what_follows_a_picture_has_no_scans(photo, encode):
    """Telephones append a video: of 20 MB, some 300 pairs of bytes look like the start of a scan."""
    jpeg = encode(photo, "JPEG")
    np.testing.assert_array_equal(decode(jpeg + b"\xff\xda\0\0" * 300), decode(jpeg))


def test_a_comment_does_not_hide_scans(photo, encode):
    jpeg = encode(photo, "JPEG", progressive=True)
    end = jpeg.rfind(b"\xff\xc4", 0, jpeg.rfind(b"\xff\xda"))
    hidden = many_scans(jpeg[:end] + segment(0xFE, b"\xff\xd9") + jpeg[end:], 600)
    with pytest.raises(UnreadableImageError, match=TOO_MANY):
        decode(hidden)


def test_a_marker_without_a_length_does_not_hide_scans(photo, encode):
    jpeg = encode(photo, "JPEG", progressive=True)
    last = jpeg.rfind(b"\xff\xda")
    for marker in (b"\xff\1", b"\xff\xd0"):
        with pytest.raises(UnreadableImageError, match=TOO_MANY):
            decode(jpeg[:-2] + (marker + jpeg[last:-2]) * 600 + jpeg[-2:])


def test_a_flat_jpeg_without_its_last_rows_is_unreadable(encode):
    """Of a flat picture, what is missing looks like what is there, so no decoder's guess shows the fault."""
    jpeg = encode(Image.new("L", (640, 480), 77), "JPEG", optimize=True)
    with pytest.raises(UnreadableImageError, match="truncated"):
        decode(jpeg[: len(jpeg) - 100])


def test_a_progressive_jpeg_whose_last_scans_are_missing_is_unreadable(photo, encode):
    jpeg = encode(photo, "JPEG", progressive=True)
    scans = [at for at in range(len(jpeg)) if jpeg.startswith(b"\xff\xda", at)]
    for at in scans[1:]:
        table = jpeg.rfind(b"\xff\xc4", 0, at)  # the tables of the scan lie before it
        with pytest.raises(UnreadableImageError, match="truncated"):
            decode(jpeg[: table if jpeg.find(b"\xff\xda", table) == at else at])


TOO_MANY = f"^the file cannot be decoded: JPEG of more than {MAX_SCANS} scans is not supported$"


def many_scans(jpeg, count):
    """Return a progressive JPEG whose last scan is there `count` times more."""
    last = jpeg.rfind(b"\xff\xda")
    return jpeg[:-2] + jpeg[last:-2] * count + jpeg[-2:]


@pytest.mark.parametrize("count", [600, 2500])
def test_more_scans_than_any_encoder_writes_are_refused_at_once(encode, count):
    jpeg = encode(Image.new("L", (4000, 4000)), "JPEG", progressive=True)
    start = time.thread_time()
    with pytest.raises(UnreadableImageError, match=TOO_MANY):
        decode(many_scans(jpeg, count))
    assert time.thread_time() - start < 0.5


def test_as_many_scans_as_encoders_write_are_decoded(photo, encode):
    jpeg = encode(photo, "JPEG", progressive=True)
    np.testing.assert_array_equal(decode(many_scans(jpeg, 0)), decode(jpeg))


def test_ordinary_files_are_not_copied(photo, encode):
    for form in ("PNG", "JPEG", "BMP", "TIFF"):
        data = encode(photo, form)
        assert strip(data, form) is data


@pytest.mark.parametrize("header", [56, 108, 124])
def test_an_alpha_channel_of_a_bmp_that_is_zero_everywhere_is_none(photo, encode, header):
    bgra = np.dstack([np.asarray(photo)[::-1, :, ::-1], np.zeros((120, 160), np.uint8)])
    np.testing.assert_array_equal(decode(bmp(bgra, header)), decode(encode(photo)))
    bgra[0, 0, 3] = 1
    assert (decode(bmp(bgra, header)) >= 254).mean() > 0.99


@pytest.mark.parametrize("planar", [1, 2])
def test_tiff_of_16_bits_is_decoded_whether_its_planes_are_separate_or_not(photo, encode, planar):
    values = np.asarray(photo).astype("<u2") * 257
    np.testing.assert_array_equal(decode(tiff(values, bits=16, photometric=2, planar=planar)), decode(encode(photo)))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_premultiplied_alpha_in_a_tiff_is_composited_over_white(photo, mode):
    colours = np.asarray(photo.convert(mode)).reshape(120, 160, -1).astype(float)
    alpha = np.tile(np.arange(96, 256), (120, 1))[..., None]
    samples = np.rint(np.concatenate([colours * alpha / 255, alpha], axis=2)).astype(np.uint8)
    want = np.broadcast_to(colours * alpha / 255 + 255 - alpha, (120, 160, 3))
    data = tiff(samples, bits=8, photometric=1 if mode == "L" else 2, extra=1)
    got = decode(data, 120).astype(float)
    resized = Image.fromarray(np.rint(want).astype(np.uint8)).resize((120, 120), Image.Resampling.BICUBIC)
    assert np.abs(got - np.asarray(resized)).max() <= 4


def test_grey_of_12_bits_in_a_tiff_is_scaled_to_8(encode):
    """Two samples of 12 bits, 0x800 and 0xFFF, in three bytes; Pillow returns them in 16 bits, unscaled."""
    packed = np.tile(np.array([0x80, 0x0F, 0xFF], np.uint8), (8, 4))[..., None]
    grey = np.tile(np.array([128, 255], np.uint8), (8, 4))
    got = decode(tiff(packed, bits=12, photometric=1, tags={256: 8}.items()), 8)
    np.testing.assert_array_equal(got[..., 0], grey)


@pytest.mark.parametrize("largest", [255, 65535])
def test_the_colours_of_a_palette_in_a_tiff_have_8_or_16_bits(encode, largest):
    indices = np.repeat(np.repeat(np.arange(4, dtype=np.uint8).reshape(2, 2, 1), 8, 0), 8, 1)
    colours = np.zeros((3, 256), int)
    colours[:, :4] = [[255, 0, 0, 9], [0, 255, 0, 99], [0, 0, 255, 199]]
    tags = {320: (colours * (largest // 255)).ravel().tolist()}
    palette = Image.fromarray(colours[:, indices[..., 0]].transpose(1, 2, 0).astype(np.uint8))
    got = decode(tiff(indices, bits=8, photometric=3, tags=tags.items()))
    np.testing.assert_array_equal(got, decode(encode(palette)))


def test_strips_that_lie_over_each_other_cost_no_time():
    """Pillow's own decoder of uncompressed TIFF decoded each of these 60,000 strips."""
    data = tiff(
        np.zeros((1000, 1000, 1), np.uint8), bits=8, photometric=1, tags={273: [8, 8] * 30_000, 278: 500}.items()
    )
    start = time.thread_time()
    with contextlib.suppress(UnreadableImageError):
        decode(data)
    assert time.thread_time() - start < 2


def frame(marker, bits, components):
    body = struct.pack(">BHHB", bits, 8, 8, components) + b"".join(bytes([n, 0x11, 0]) for n in range(components))
    return SOI + segment(marker, body) + segment(0xDA, bytes([1, 0, 0, 0, 63, 0])) + bytes(20) + b"\xff\xd9"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (frame(0xC1, 12, 1), "JPEG of 12 bits is not supported"),
        (frame(0xC3, 16, 1), "lossless JPEG is not supported"),
        (frame(0xC5, 8, 3), "hierarchical JPEG is not supported"),
        (frame(0xF7, 8, 1), "JPEG-LS is not supported"),
        (frame(0xC0, 8, 2), "JPEG of 2 components is not supported"),
        (
            tiff(np.zeros((4, 4, 3), "<f4"), bits=32, photometric=2, tags={339: [3, 3, 3]}.items()),
            "TIFF of 3 samples of 32 bits (float), photometric interpretation 2, compression 1 is not supported",
        ),
        (
            tiff(np.zeros((4, 4, 1), "<f8"), bits=64, photometric=1, tags={339: 3}.items()),
            "TIFF of 1 samples of 64 bits (float), photometric interpretation 1, compression 1 is not supported",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_kind_that_is_not_supported_is_named(data, reason):
    with pytest.raises(UnreadableImageError) as caught:
        decode(data)
    assert str(caught.value) == f"the file cannot be decoded: {reason}"


def test_the_png_of_ios_apps_is_named(encode, photo):
    png = encode(photo)
    for data in (png[:8] + chunk(b"CgBI", b"P\0 \2") + png[8:], png[:8] + chunk(b"CgBI", b"P\0 \2")):
        with pytest.raises(UnreadableImageError, match=r"^PNG as Xcode rewrites it for iOS apps \(CgBI\)"):
            decode(data)


@pytest.mark.parametrize("form", ["GIF", "grey GIF", "WEBP"])
def test_what_the_first_frame_does_not_cover_is_transparent(photo, encode, form):
    data, frame = partial(form, photo.resize((10, 8)))
    with Image.open(io.BytesIO(data)) as image:
        assert image.convert("RGB").getpixel((0, 0)) != (255, 255, 255)
    expected = Image.new("RGB", (24, 24), "white")
    expected.paste(frame, (8, 6))
    np.testing.assert_array_equal(decode(data, 24), np.asarray(expected))


def test_an_animation_whose_first_frame_covers_all_is_not_changed(photo, encode):
    data = encode(photo, "WEBP", save_all=True, append_images=[photo.transpose(Image.Transpose.ROTATE_180)])
    assert strip(data, "WEBP") is data


SETTINGS = {
    "truncated images": (ImageFile, "LOAD_TRUNCATED_IMAGES", True),
    "largest image": (Image, "MAX_IMAGE_PIXELS", 10),
    "block": (ImageFile, "MAXBLOCK", 1),
    "texts": (PngImagePlugin, "MAX_TEXT_CHUNK", 1),
    "formats": (Image, "OPEN", {}),
    "open": (Image, "open", None),
    "transposing": (Image.Image, "transpose", None),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_setting_of_the_users_pillow_changes_a_result(photo, encode, monkeypatch, setting):
    files = [encode(photo, form) for form in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP")]
    files += [encode(photo, "JPEG", exif=ORIENTED), files[0][:2000], files[1][:2000], files[3][:20_000]]

    def results():
        for data in files:
            try:
                yield decode(data, 8).tobytes()
            except UnreadableImageError as error:
                yield str(error)

    before = list(results())
    monkeypatch.setattr(*SETTINGS[setting])
    assert list(results()) == before
    assert any(isinstance(result, str) for result in before)


def test_a_numpy_that_raises_changes_no_result():
    values = np.full((4, 4, 1), np.nan, "<f4")
    values[0] = 1e-42
    data = tiff(values, bits=32, photometric=1, tags={339: 3}.items())
    with np.errstate(all="raise"):
        assert (decode(data) == 0).all()
