"""Read the segments of JPEGs: remove what is not the image, find the scans, and see that none of them lacks data."""

import re
from collections.abc import Iterator, Sequence

_EOI, _SOS, _DRI, _TEM = 0xD9, 0xDA, 0xDD, 0x01

_MARKER = re.compile(rb"\xff[^\x00\xff]")
"""A marker: within a scan, a zero follows a byte of 255 (ITU-T T.81, B.1.1.2)."""

_NO_RESTART = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker but for restarts, which are within scans."""

_RESTART = re.compile(rb"\xff[\xd0-\xd7]")

_ONES = b"\xff\0" * 8
"""64 one-bits, in sixteen bytes of a file. No Huffman table has a code of ones alone: of 17, libjpeg makes the end of a
block."""

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

_MAX_RESTARTS = 20_000
"""Restart markers before which data may be found missing. Each takes some microseconds; encoders write one a row."""

Scans = Sequence[tuple[int, int]]
"""Where the header of each scan starts, and where its data end."""


def strip_jpeg(data: bytes) -> bytes:
    """Return a JPEG without the segments that it is not decoded with; as it is, if there are none."""
    kept, end, exif = bytearray(data[:2]), 2, False
    for marker, start, end in _segments(data):
        if 0xE0 <= marker <= 0xEF or marker == 0xFE:
            prefix, length = _KEPT_SEGMENTS.get(marker, (b"", 1 << 16))
            # Only the first EXIF block is needed: Pillow appends all others to it, in quadratic time.
            if end - start - 4 < length or not data.startswith(prefix, start + 4) or (exif and marker == 0xE1):
                continue
            exif |= marker == 0xE1
        kept += data[start:end]
    kept += memoryview(data)[end:]
    return bytes(kept) if len(kept) < len(data) and kept.startswith(b"\xff\xd8\xff") else data


def find_scans(jpeg: bytes) -> tuple[Scans, bool]:
    """Return the scans of a JPEG, and whether the image has an end marker.

    Any marker ends the data of a scan, as it does for libjpeg; restarts do not if an interval is defined for them.

    Raises
    ------
    OSError
        There are more than `MAX_SCANS`.
    """
    scans: list[tuple[int, int]] = []
    position, start, restarts, ended = 2, -1, False, False
    while len(scans) <= MAX_SCANS and not ended:
        found = (_NO_RESTART if restarts and start >= 0 else _MARKER).search(jpeg, position)
        if start >= 0:
            scans.append((start, found.start() if found else len(jpeg)))
        if not found:
            break
        marker, position = jpeg[found.end() - 1], found.end()
        start, ended = found.start() if marker == _SOS else -1, marker == _EOI
        if marker == _DRI:
            restarts = any(jpeg[position + 2 : position + 4])
        if marker != _TEM and not 0xD0 <= marker <= 0xD8:  # all others have a length
            position += max(2, int.from_bytes(jpeg[position : position + 2]))
    if len(scans) > MAX_SCANS:
        raise OSError(f"JPEG of more than {MAX_SCANS} scans is not supported")
    return scans, ended


def with_ends(jpeg: bytes, scans: Scans, ended: bool) -> tuple[tuple[bytes, ...], Scans]:
    """Return a JPEG that has an end marker, or two made of one that has none; and their scans, for `in_parts`.

    libjpeg needs the marker. So a file that ends within its last scan is ended by two different continuations: if both
    decode to the same pixels, no pixel depends on what is missing. Their first bits differ, so one missing bit is
    enough; so do those behind the next restart marker.

    Parameters
    ----------
    jpeg : bytes
    scans, ended
        What `find_scans` returns.

    Raises
    ------
    OSError
        Scans are missing.
    """
    if not scans or not _has_coefficients(jpeg, scans, ended=ended):
        raise OSError("image file is truncated")
    end = bytes([0xFF, _EOI])
    if scans[-1][1] < len(jpeg):
        return (jpeg if ended else jpeg[: scans[-1][1]] + end,), scans
    start, restart = jpeg.rstrip(b"\xff"), _restart(sum(1 for _ in _RESTART.finditer(jpeg, *scans[-1])))
    ends = tuple(start + filling + restart + filling + end for filling in (b"\x55" * 64, b"\xaa" * 64))
    return ends, (*scans[:-1], (scans[-1][0], len(ends[0])))


def in_parts(jpeg: bytes, scans: Scans) -> Iterator[bytes | memoryview]:
    """Yield the parts of a JPEG, each of which but the last its decoder must consume, or data are missing.

    libjpeg makes up the pixels that are missing before a marker, and Pillow does not tell. So before the marker of each
    scan, and before the first `_MAX_RESTARTS` restart markers, the data go on with ones. Behind complete data, at most
    eight bytes are read ahead, and the others are skipped. If data are missing, the ones are decoded, and the last few
    wait until they are a block. Arithmetic coders leave out the zeros at the end (ITU-T T.81, D.1.8), so of their scans
    nothing can be told.
    """
    start, left = 0, _MAX_RESTARTS
    if any(marker in _ARITHMETIC for marker, _, _ in _segments(jpeg)):
        scans = []
    for header, end in scans:
        number = -1
        for number, found in enumerate(_RESTART.finditer(jpeg, header, end)):
            if left > 0:
                yield from _part(jpeg, start, found.start(), number)
                start, left = found.start(), left - 1
        if end < len(jpeg):
            yield from _part(jpeg, start, end, number + 1)
            start = end
    yield memoryview(jpeg)[start:]


def _part(jpeg: bytes, start: int, end: int, number: int) -> Iterator[bytes]:
    """Yield the data up to a marker, where the interval of this number ends, and what shows that none are missing."""
    # By chance, none of the ones may wait; then the next byte waits.
    yield from (bytes(memoryview(jpeg)[start:end]) + _ONES, b"\0")
    if not jpeg.startswith(_restart(number), end):
        # A decoder that lacks whole intervals waits for a restart, and then for data.
        yield from (_restart(number), b"\0")


def _restart(number: int) -> bytes:
    """Return the restart marker that ends an interval of a scan, counted from 0."""
    return bytes([0xFF, 0xD0 + number % 8])


def _has_coefficients(jpeg: bytes, scans: Scans, *, ended: bool) -> bool:
    """Whether the scans' headers name the coefficients of each component (ITU-T T.81, B.2.3 and G.1.1.1).

    The first coefficient is the colour of a block. Encoders may leave out others, or their lowest bits; but if there is
    no end marker, they may be missing, and so may what a scan refines.
    """
    sent: dict[int, list[int]] = {}  # of each component, the lowest bit of each coefficient; -1 if it has none
    progressive = False
    for marker, start, end in _segments(jpeg):
        if 0xC0 <= marker <= 0xCF and marker not in (*_NO_FRAMES, *_FRAMES):
            sent = {component: [-1] * 64 for component in jpeg[start + 10 : end : 3]}
            progressive = marker in (0xC2, 0xCA)
    for start, _ in scans:
        length = 2 * int.from_bytes(jpeg[start + 4 : start + 5])
        header = jpeg[start + 5 : start + 8 + length]
        if len(header) < length + 3:
            return False
        # Some encoders write no range into the scan of a sequential JPEG; libjpeg ignores it, too.
        first, last, bits = header[length:] if progressive else (0, 63, 0)
        for lowest in (sent[component] for component in header[:length:2] if component in sent):
            if any(max(0, bit) != bits >> 4 for bit in lowest[first : last + 1]):
                return False
            lowest[first : last + 1] = [bits & 15] * (last + 1 - first)
    return all(lowest[0] >= 0 if ended else not any(lowest) for lowest in sent.values())


def describe_jpeg(data: bytes) -> str | None:
    """Return the kind of a JPEG if it is not supported."""
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


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each segment before a JPEG's first scan; end at a damaged one.

    Padding, restarts and other bytes between segments are skipped, as libjpeg and Pillow skip them.
    """
    start = 2
    while found := _NO_RESTART.search(data, start):
        start, marker = found.start(), data[found.end() - 1]
        length = int.from_bytes(data[start + 2 : start + 4])
        end = start + 2 + length
        if not marker >= 0xC0 or 0xD0 <= marker <= 0xDA or length < 2 or end > len(data):
            return
        yield marker, start, end
        start = end
