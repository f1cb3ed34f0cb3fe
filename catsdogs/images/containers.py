"""Make files such that Pillow decodes what browsers show, and describe those that cannot be decoded.

Comments, texts, colour profiles, thumbnails and animations are not needed for the first frame. Pillow parses them all,
and refuses the whole image if one is damaged, or larger than its limits. libjpeg and libpng skip them. So they are
removed from JPEG and PNG files.
"""

import io
import zlib
from contextlib import suppress

from .codecs import TiffImagePlugin
from .jpeg import describe_jpeg, strip_jpeg

_PROFILE = b"Raw profile type exif\0"
"""The keyword of the text in which ImageMagick stores EXIF blocks."""

_MAX_TEXT = 1 << 20
"""Bytes of a decompressed text in a PNG: Pillow's limit."""


def strip(data: bytes, form: str) -> bytes:
    """Return a JPEG or PNG without what is not needed to decode it, or a WebP that is flagged transparent if it is.

    Other files, and damaged ones, are returned as they are.

    Raises
    ------
    OSError
        The image data of a PNG do not match their checksum.
    """
    change = {"JPEG": strip_jpeg, "PNG": _strip_png, "WEBP": _flag_transparency}.get(form)
    return change(data) if change else data


def _strip_png(data: bytes) -> bytes:
    kept, start = bytearray(data[:8]), 8
    while start + 8 <= len(data):
        kind, end = data[start + 4 : start + 8], start + 12 + int.from_bytes(data[start : start + 4])
        if kind == b"IDAT" and end <= len(data) and not _matches(memoryview(data)[start + 4 : end]):
            raise OSError("the image data do not match their checksum")
        critical = not kind[0] & 0x20  # ISO/IEC 15948, 5.4
        if critical or (end <= len(data) and _is_kept(kind, data[start + 4 : end])):
            kept += data[start:end]
        start = end
        if kind == b"IEND":
            break
    return bytes(kept) if len(kept) < len(data) else data


def _matches(chunk: bytes | memoryview) -> bool:
    """Whether a chunk matches its checksum; of image data, Pillow does not look."""
    return zlib.crc32(chunk[:-4]) == int.from_bytes(chunk[-4:])


def _is_kept(kind: bytes, chunk: bytes) -> bool:
    """Whether an ancillary chunk is needed, and matches its checksum: libpng, too, ignores one that does not."""
    if kind not in (b"tRNS", b"eXIf") and not (kind in (b"tEXt", b"zTXt") and chunk.startswith(_PROFILE, 4)):
        return False
    if not _matches(chunk):
        return False
    if kind != b"zTXt":
        return True
    decompressor = zlib.decompressobj()
    with suppress(zlib.error):
        decompressor.decompress(chunk[4 + len(_PROFILE) + 1 : -4], _MAX_TEXT)
    return not decompressor.unconsumed_tail


def _flag_transparency(data: bytes) -> bytes:
    """Return an animated WebP with the flag of transparency if its first frame does not cover all.

    What the frame does not cover is transparent, but libwebp's muxer sets the flag only for frames that are.
    """
    frame = data.find(b"ANMF", 30)
    if data[12:16] != b"VP8X" or not data[20] & 2 or frame < 0 or data[frame + 14 : frame + 20] == data[24:30]:
        return data
    return data[:20] + bytes([data[20] | 16]) + data[21:]


def describe(error: Exception, data: bytes, form: str) -> str:
    """Return why a file could not be decoded: its kind if that is not supported, or the text of the error."""
    found = None
    with suppress(Exception):  # Pillow's reader of tags raises nearly any exception
        if form == "JPEG":
            found = describe_jpeg(data)
        elif form == "TIFF" and isinstance(error, SyntaxError):
            found = _describe_tiff(data)
    if str(error) in ("", "not identified by this driver"):
        found = found or f"damaged, or a kind of {form} that is not supported"
    return found or str(error)


def _describe_tiff(data: bytes) -> str:
    if data.startswith(b"MM\0+"):
        return "big-endian BigTIFF is not supported"
    tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if data[2] == 43 else 8])
    file = io.BytesIO(data)
    file.seek(tags.next)
    tags.load(file)
    bits, samples = tags.get(258, (1,)), tags.get(277, 1)
    kinds = {1: "unsigned", 2: "signed", 3: "float", 5: "complex", 6: "complex"}
    kind = kinds.get(tags.get(339, (1,))[0], "unknown")
    return (
        f"TIFF of {samples} samples of {'/'.join(map(str, sorted(set(bits))))} bits ({kind}), "
        f"photometric interpretation {tags[262]}, compression {tags.get(259, 1)} is not supported"
    )
