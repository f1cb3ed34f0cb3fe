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


def write_kaggle_zip(path, draw, encode, zipped, *, train, test):
    """Write small pictures in a zip that is laid out as Kaggle's download."""
    names = [f"train/{kind}.{number}.jpg" for kind in ("cat", "dog") for number in range(train // 2)]
    inner = {"train.zip": names, "test.zip": [f"test/{number}.jpg" for number in range(1, test + 1)]}
    seeds = {name: seed for seed, name in enumerate(name for names in inner.values() for name in names)}
    zips = {
        zip_name: zipped({name: encode(draw(seeds[name]), "JPEG") for name in of}) for zip_name, of in inner.items()
    }
    path.write_bytes(zipped(zips | {"sample_submission.csv": b"id,label\n1,0.5\n"}))
