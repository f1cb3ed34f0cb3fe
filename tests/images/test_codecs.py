import struct
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image
from support.pictures import bomb, pixels_or_reason

from catsdogs.images.codecs import FORMATS
from catsdogs.images.decoding import SIZE, decode


@pytest.mark.parametrize("form", FORMATS)
def test_the_format_is_read_from_the_content_and_not_from_the_name(draw, encode, form):
    """A GIF named .jpg is decoded as a GIF; each listed format is recognised by its content."""
    assert decode(encode(draw(9), form)).shape == (SIZE, SIZE, 3)


def remarkable(draw, encode):
    """Return files for which Pillow or its libtiff gives a warning, a log line, or a line on stderr."""
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


def test_nothing_that_pillow_prints_or_warns_of_reaches_the_terminal(tmp_path, draw, encode):
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


def test_without_the_handlers_pillow_prints_and_warns(tmp_path, draw, encode):
    """Without this, the test above might use files that Pillow does not warn about."""
    script = """
import io, pathlib, sys
from PIL import Image
for path in sys.argv[1:]:
    print("====", pathlib.Path(path).name, file=sys.stderr, flush=True)
    try:
        Image.open(io.BytesIO(pathlib.Path(path).read_bytes())).load()
    except Exception:
        pass
"""
    for name, data in remarkable(draw, encode).items():
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-W", "always", "-c", script, *tmp_path.iterdir()]
    parts = subprocess.run(command, capture_output=True, text=True).stderr.split("==== ")[1:]
    said = {name: text for name, _, text in (part.partition("\n") for part in parts)}
    assert "Warning" in said["bomb"]
    assert "LZWDecode" in said["broken LZW"] or "tempfile.tif" in said["broken LZW"]
    assert "More samples per pixel" in said["many samples"]
    assert "Warning" in said["tag behind the end"]


@pytest.mark.parametrize("action", ["error", "always", "ignore"])
def test_a_users_own_filters_of_warnings_change_no_pixel(draw, encode, action):
    files = list(remarkable(draw, encode).values())
    alone = [pixels_or_reason(data) for data in files]
    with ThreadPoolExecutor(4) as threads, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter(action)
        assert list(threads.map(pixels_or_reason, files * 3)) == alone * 3
    assert said == []
