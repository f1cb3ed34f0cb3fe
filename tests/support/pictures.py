"""Make files that hold what pictures should not, and say what they decode to."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from catsdogs.images.decoding import UnreadableImageError, decode


def bomb(encode, width, height):
    """Return a PNG that says it is this large."""
    data = encode(Image.new("L", (1, 1)))
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def bmp(pixels, header):
    """Return a BMP of 32 bits with an alpha mask, from (height, width, 4) uint8 BGRA, bottom row first."""
    height, width = pixels.shape[:2]
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = struct.pack("<IiiHHIIiiII", header, width, height, 1, 32, 3, pixels.size, 2835, 2835, 0, 0) + masks
    info = info.ljust(header, b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + header + pixels.size, 0, 0, 14 + header) + info + pixels.tobytes()


def tiff(samples, *, bits, photometric, tags=(), planar=1, extra=None):
    """Return an uncompressed little-endian TIFF 6.0 of (height, width, n) samples, in one strip or in one a plane."""
    height, width, count = samples.shape
    planes = [samples] if planar == 1 else [samples[..., n] for n in range(count)]
    strips = [np.ascontiguousarray(plane).tobytes() for plane in planes]
    offsets = [8 + sum(map(len, strips[:n])) for n in range(len(strips))]
    entries = {256: width, 257: height, 258: [bits] * count, 259: 1, 262: photometric, 273: offsets, 277: count}
    entries |= {278: height, 279: [len(strip) for strip in strips], 284: planar, **dict(tags)}
    if extra is not None:
        entries[338] = extra
    data, directory = b"II*\0" + struct.pack("<I", 8 + sum(map(len, strips))) + b"".join(strips), b""
    end = len(data) + 2 + 12 * len(entries) + 4
    behind = b""
    for tag, value in sorted(entries.items()):
        values = value if isinstance(value, list) else [value]
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(packed) > 4:
            directory += struct.pack("<HHII", tag, 4, len(values), end + len(behind))
            behind += packed
        else:
            directory += struct.pack("<HHI", tag, 4, len(values)) + packed
    return data + struct.pack("<H", len(entries)) + directory + bytes(4) + behind


def partial(form, frame):
    """Return a GIF, a grey GIF or an animated WebP of 24x24 pixels, and its first frame, which is smaller, in RGB."""
    file = io.BytesIO()
    if "GIF" in form:
        frame = frame.quantize(16) if form == "GIF" else frame.convert("L")
        frame.save(file, "GIF", optimize=form == "GIF")
        gif = bytearray(file.getvalue())
        gif[6:10] = struct.pack("<2H", 24, 24)
        descriptor = gif.index(b",\0\0\0\0" + struct.pack("<2H", *frame.size))
        gif[descriptor + 1 : descriptor + 5] = struct.pack("<2H", 8, 6)
        return bytes(gif), frame.convert("RGB")
    canvas = Image.new("RGBA", (24, 24))
    canvas.paste(frame, (8, 6))
    canvas.save(file, "WEBP", lossless=True, save_all=True, append_images=[Image.new("RGBA", (24, 24), "green")])
    return file.getvalue(), frame


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
