"""Make files that hold what pictures should not, and say what they decode to."""

import struct
import zlib

from PIL import Image

from catsdogs.images.decoding import UnreadableImageError, decode


def bomb(encode, width, height):
    """Return a PNG that says it is this large."""
    data = encode(Image.new("L", (1, 1)))
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def pixels_or_reason(data):
    """Return the bytes of the pixels that a file decodes to, or the reason why there are none."""
    try:
        return decode(data, 6).tobytes()
    except UnreadableImageError as error:
        return str(error)
