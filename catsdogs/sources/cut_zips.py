"""A zip without its table comes in; out go the members that lie whole before the cut, and the one that was cut.

A zip's table stands at its end. Before each member's data stands what the table says of it, all but the position.
"""

import os
import struct
import zipfile
from typing import BinaryIO

HEADER = b"PK\3\4"
"""What a member begins with (APPNOTE.TXT, 4.3.7)."""

NAME_IS_UTF8, _SIZES_FOLLOW = 0x800, 0x8
"""Bits of a member's flags (APPNOTE.TXT, 4.4.4)."""

IN_ZIP64, _ZIP64 = 0xFFFFFFFF, 0x1
"""What stands for a number that 4 bytes do not hold, and the kind of extra field that does (APPNOTE.TXT, 4.5.3)."""

_DESCRIPTOR = b"PK\7\10"
_BLOCK = 1 << 16


def find_members(file: BinaryIO) -> tuple[list[zipfile.ZipInfo], zipfile.ZipInfo | None]:
    """Find the members of a zip by their own headers, from the start on.

    Parameters
    ----------
    file : file
        The zip. What does not begin with a member's header has none.

    Returns
    -------
    members : list of ZipInfo
        In the order in which they lie there; none overlaps another.
    cut : ZipInfo or None
        The last of them, where its end is not there. Its sizes are then those of what is.
    """
    members: list[zipfile.ZipInfo] = []
    length, position = file.seek(0, os.SEEK_END), 0
    while True:
        file.seek(position)
        header = file.read(30)
        if len(header) < 30 or not header.startswith(HEADER):
            return members, None
        flags, method, crc, packed, unpacked, name_length, extra_length = struct.unpack("<6xHH4xIIIHH", header)
        name, extra = file.read(name_length), file.read(extra_length)
        if len(name) < name_length:
            return members, None
        member = zipfile.ZipInfo(name.decode("utf-8" if flags & NAME_IS_UTF8 else "cp437", "replace"))
        member.header_offset, member.flag_bits, member.compress_type = position, flags, method
        members.append(member)
        start = position + 30 + name_length + extra_length
        in_zip64 = _sizes_in(extra)
        if in_zip64 and IN_ZIP64 in (packed, unpacked):
            unpacked, packed = in_zip64
        position = start + packed
        if flags & _SIZES_FOLLOW and (found := _find_descriptor(file, start, wide=bool(in_zip64))):
            crc, packed, unpacked, position = found
        elif flags & _SIZES_FOLLOW or position > length:
            member.compress_size = member.file_size = max(0, length - start)
            return members, member
        member.CRC, member.compress_size, member.file_size = crc, packed, unpacked


def _sizes_in(extra: bytes) -> tuple[int, int] | None:
    """Return the sizes, unpacked and packed, from a member's extra field (APPNOTE.TXT, 4.5.3)."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == _ZIP64 and length >= 16 and len(extra) >= 20:
            unpacked, packed = struct.unpack_from("<QQ", extra, 4)
            return unpacked, packed
        extra = extra[4 + length :]
    return None


def _find_descriptor(file: BinaryIO, start: int, *, wide: bool) -> tuple[int, int, int, int] | None:
    """Find what follows a member's data where its header has no sizes (APPNOTE.TXT, 4.3.9).

    It holds the length of the data: that it is its own distance from `start`, and that another record follows it or the
    cut, tells it from any that lies within the data. (No data, and the cut, may be data that begin like this: they are
    cut.) So nothing need be unpacked, whatever the method, and there is nothing for a bomb to fill. What begins with no
    signature, as was allowed once, is not found. Its sizes have 8 bytes where the header speaks of ZIP64, or 4 are too
    few.

    Returns
    -------
    (CRC-32, packed size, unpacked size, position of what follows), or None where it is not there
    """
    position = start
    while True:
        file.seek(position)
        block = file.read(_BLOCK)
        at = block.find(_DESCRIPTOR)
        if at < 0 and len(block) < _BLOCK:
            return None
        if at < 0:
            position += len(block) - len(_DESCRIPTOR) + 1
            continue
        position += at
        file.seek(position)
        form = struct.Struct("<4xIQQ" if wide or position - start >= IN_ZIP64 else "<4xIII")
        record = file.read(form.size)
        if len(record) == form.size:
            crc, packed, unpacked = form.unpack(record)
            follows = file.read(2)
            if packed == position - start and (follows == b"PK" or (packed and b"PK".startswith(follows))):
                return crc, packed, unpacked, position + form.size
        position += len(_DESCRIPTOR)
