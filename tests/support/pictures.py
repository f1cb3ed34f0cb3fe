"""Make files that hold what pictures should not."""

import struct
import zlib

from PIL import Image


def bomb(encode, width, height):
    """Return a PNG that says it is this large."""
    data = encode(Image.new("L", (1, 1)))
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
