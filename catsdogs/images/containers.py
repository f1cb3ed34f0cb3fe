"""Remove from JPEG and PNG files what is not the image, and describe files that cannot be decoded.

Comments, texts, colour profiles, thumbnails and animations are not needed for the first frame. Pillow parses them all,
and refuses the whole image if one is damaged, or larger than its limits. libjpeg and libpng skip them.
"""

import io
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from .codecs import TiffImagePlugin

_EOI, _SOS = b"\xff\xd9", b"\xff\xda"

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker but for those within a scan: restarts, and the zero that follows a byte of 255 (ITU-T T.81, B.1.1.2)."""

_RESTART = re.compile(rb"\xff[\xd0-\xd7]")

_ONES = b"\xff\0" * 8
"""Eight bytes of ones, which are no code of any Huffman table: of 17 bits, libjpeg makes the end of a block."""

MAX_SCANS = 100
"""Scans of a JPEG. A file of some kilobytes can hold thousands, and each takes time for the whole image. Skia, which
decodes for Chromium and Android, has the same limit (SkJpegCodec.cpp), and so has libtiff (tif_jpeg.c). Encoders write
about ten."""

_KEPT_SEGMENTS = {0xE0: (b"JFIF\0", 14), 0xE1: (b"Exif\0\0", 6), 0xE2: (b"ICC_PROFILE\0", 14), 0xEE: (b"Adobe", 12)}
"""The application segments that a JPEG is decoded with: how they begin, and their length without which libjpeg ignores
them too."""

_FRAMES = {
    0xC3: "lossless JPEG",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG"),
    0xCB: "lossless JPEG",
    0xF7: "JPEG-LS",
}
"""Kinds of JPEG that libjpeg does not decode to 8 bits, by the marker of the frame (ITU-T T.81, table B.1)."""

_NO_FRAMES, _ARITHMETIC = (0xC4, 0xC8, 0xCC), (0xC9, 0xCA)
"""Markers of tables among those of frames, and the markers of frames in arithmetic coding."""

_PROFILE = b"Raw profile type exif\0"
"""The keyword of the text in which ImageMagick stores EXIF blocks."""

_MAX_TEXT = 1 << 20
"""Bytes of a decompressed text in a PNG: Pillow's limit."""


def strip(data: bytes, form: str) -> bytes:
    """Return a JPEG or PNG file without what is not needed to decode it; other files, and damaged ones, as they are.

    Raises
    ------
    OSError
        The image data of a PNG do not match their checksum.
    """
    change = {"JPEG": _strip_jpeg, "PNG": _strip_png, "WEBP": _flag_transparency}.get(form)
    return change(data) if change else data


def find_scans(stripped: bytes) -> list[tuple[int, int]]:
    """Return where the header of each scan of a JPEG starts and where its data ends, up to the image's end marker."""
    # An EXIF block before the first scan may hold a JPEG with markers of its own.
    position, scans, start = max((end for _, _, end in _segments(stripped)), default=2), [], -1
    while found := _MARKER.search(stripped, position):
        if start >= 0:
            scans.append((start, found.start()))
        start = found.start() if found[0] == _SOS else -1
        if found[0] == _EOI:
            break
        position = found.end() + max(2, int.from_bytes(stripped[found.end() : found.end() + 2]))
    return [*scans, (start, len(stripped))] if start >= 0 else scans


def with_ends(stripped: bytes, scans: Sequence[tuple[int, int]]) -> tuple[bytes, ...]:
    """Return a JPEG that has an end marker, or two JPEGs made of one that has none.

    libjpeg needs the marker. So the file is ended by two different continuations: if both decode to the same pixels, no
    pixel depends on what is missing. Their first bits differ, so one missing bit is enough; so do those behind the next
    restart marker.

    Raises
    ------
    OSError
        Scans are missing.
    """
    if not scans or not _has_all_coefficients(stripped, scans):
        raise OSError("image file is truncated")
    if stripped.startswith(_EOI, scans[-1][1]):
        return (stripped,)
    start, restart = stripped.rstrip(b"\xff"), _next_restart(stripped[scans[-1][0] :])
    return tuple(start + filling + restart + filling + _EOI for filling in (b"\x55" * 64, b"\xaa" * 64))


def parts(jpeg: bytes, scans: Iterable[tuple[int, int]]) -> Iterator[tuple[bytes | memoryview, bool]]:
    """Yield the parts of a JPEG, and whether its decoder must ignore them.

    libjpeg makes up the pixels that are missing before a marker, and Pillow does not tell. So each of the given scans
    goes on with ones before its marker. Behind all data of a scan, at most eight bytes are read ahead, and the others
    are skipped. If data are missing, they are decoded, and the last few wait until they are a block. Arithmetic coders
    leave out the zeros at the end (ITU-T T.81, D.1.8), so of their scans nothing can be told.
    """
    start, content = 0, memoryview(jpeg)
    arithmetic = any(marker in _ARITHMETIC for marker, _, _ in _segments(jpeg))
    for header, end in () if arithmetic else scans:
        yield content[start:end], False
        # By chance, none of the ones may wait, or the decoder may wait for a restart; then the next byte waits.
        for ignored in (_ONES, b"\0", _next_restart(jpeg[header:end]), b"\0"):
            yield ignored, True
        start = end
    yield content[start:], False


def _next_restart(scan: bytes) -> bytes:
    """Return the restart marker that would follow the last one in a scan; nothing if there is none."""
    restarts = _RESTART.findall(scan)
    return bytes([0xFF, 0xD0 + (restarts[-1][1] + 1) % 8]) if restarts else b""


def _has_all_coefficients(stripped: bytes, scans: Iterable[tuple[int, int]]) -> bool:
    """Whether the scans' headers name each coefficient of each component, to its last bit (ITU-T T.81, B.2.3)."""
    missing: dict[int, int] = {}  # a bit for each coefficient
    progressive = False
    for marker, start, end in _segments(stripped):
        if 0xC0 <= marker <= 0xCF and marker not in (*_NO_FRAMES, *_FRAMES):
            missing = dict.fromkeys(stripped[start + 10 : end : 3], (1 << 64) - 1)
            progressive = marker in (0xC2, 0xCA)
    for start, _ in scans:
        length = 2 * int.from_bytes(stripped[start + 4 : start + 5])
        header = stripped[start + 5 : start + 8 + length]
        # Some encoders write no range into the scan of a sequential JPEG; libjpeg ignores it, too.
        if len(header) == length + 3 and not (progressive and header[-1] & 15):
            named = (2 << header[length + 1]) - (1 << header[length]) if progressive else -1
            missing |= {component: missing.get(component, 0) & ~named for component in header[:length:2]}
    return not any(missing.values())


def _strip_jpeg(data: bytes) -> bytes:
    kept, end, exif = [data[:2]], 2, False
    for marker, start, end in _segments(data):
        if 0xE0 <= marker <= 0xEF or marker == 0xFE:
            prefix, length = _KEPT_SEGMENTS.get(marker, (b"", 1 << 16))
            # Only the first EXIF block is needed: Pillow appends all others to it, in quadratic time.
            if end - start - 4 < length or not data.startswith(prefix, start + 4) or (exif and marker == 0xE1):
                continue
            exif |= marker == 0xE1
        kept.append(data[start:end])
    kept.append(data[end:])
    stripped = b"".join(kept)
    return stripped if len(stripped) < len(data) and stripped.startswith(b"\xff\xd8\xff") else data


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each segment before a JPEG's first scan; end at a damaged one.

    Padding, restarts and other bytes between segments are skipped, as libjpeg and Pillow skip them.
    """
    start = 2
    while found := _MARKER.search(data, start):
        start, marker = found.start(), data[found.end() - 1]
        length = int.from_bytes(data[start + 2 : start + 4])
        end = start + 2 + length
        if not marker >= 0xC0 or 0xD0 <= marker <= 0xDA or length < 2 or end > len(data):
            return
        yield marker, start, end
        start = end


def _strip_png(data: bytes) -> bytes:
    kept, start = [data[:8]], 8
    while start + 8 <= len(data):
        kind, end = data[start + 4 : start + 8], start + 12 + int.from_bytes(data[start : start + 4])
        if kind == b"IDAT" and end <= len(data) and not _matches(memoryview(data)[start + 4 : end]):
            raise OSError("the image data do not match their checksum")
        critical = not kind[0] & 0x20  # ISO/IEC 15948, 5.4
        if critical or (end <= len(data) and _is_kept(kind, data[start + 4 : end])):
            kept.append(data[start:end])
        start = end
        if kind == b"IEND":
            break
    stripped = b"".join(kept)
    return stripped if len(stripped) < len(data) else data


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
            found = _describe_jpeg(data)
        elif form == "TIFF" and isinstance(error, SyntaxError):
            found = _describe_tiff(data)
    if str(error) in ("", "not identified by this driver"):
        found = found or f"damaged, or a kind of {form} that is not supported"
    return found or str(error)


def _describe_jpeg(data: bytes) -> str | None:
    for marker, start, _ in _segments(data):
        if (0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES) or marker == 0xF7:
            bits, components = data[start + 4], data[start + 9]
            if marker in _FRAMES:
                return f"{_FRAMES[marker]} is not supported"
            if bits != 8:
                return f"JPEG of {bits} bits is not supported"
            if components not in (1, 3, 4):
                return f"JPEG of {components} components is not supported"
    return None


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
