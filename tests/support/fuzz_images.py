"""Damaged pictures without end: each must be pixels or a reason, in little time and memory, without a word.

    python tests/support/fuzz_images.py --minutes 60 --seed 1

`mutants` is what the tests try some thousands of; run as a program it goes on for as long as it is told, and writes
every file that does harm into the folder `fuzz_failures`.
"""

import argparse
import io
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from catsdogs.images.decoding import UnreadableImageError, decode

FORMS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "MPO")
MODES = ("RGB", "L", "P", "1", "RGBA", "LA", "CMYK", "I;16", "F")
OPTIONS: dict[str, tuple[dict[str, object], ...]] = {
    "JPEG": ({}, {"progressive": True}, {"quality": 100, "subsampling": 0}),
    "PNG": ({}, {"transparency": 3}),
    "WEBP": ({}, {"lossless": True}),
    "GIF": ({}, {"save_all": True, "append_images": [Image.new("P", (9, 9))]}),
    "TIFF": ({}, *({"compression": name} for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4"))),
}
MODES_OF = {"group4": ("1",), "jpeg": ("RGB", "L")}
"""What else a compression is asked for, some versions of Pillow and libtiff crash while they write."""

INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
SECONDS = 30.0
"""More processor time than this for a file of a few hundred bytes is a hang."""


def seeds() -> list[bytes]:
    """Return small pictures in every form, mode and option that Pillow writes."""
    grain = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    found = []
    for form in FORMS:
        for mode in MODES:
            for options in OPTIONS.get(form, ({},)):
                if mode not in MODES_OF.get(str(options.get("compression")), MODES):
                    continue
                image = Image.fromarray(grain)
                image = image.convert("L").convert(mode) if mode in ("I;16", "F") else image.convert(mode)
                file = io.BytesIO()
                try:
                    image.save(file, form, **({"exif": exif} if form != "BMP" else {}), **options)
                except (OSError, ValueError, TypeError, KeyError, AttributeError, SystemError):
                    continue  # this form has no such mode or option
                found.append(file.getvalue())
    return found


def mutants(seed: int) -> Iterator[bytes]:
    """Yield damaged pictures without end: bits and bytes changed, numbers made extreme, parts cut, doubled, joined."""
    draw, whole = random.Random(seed), seeds()
    while True:
        data = bytearray(draw.choice(whole))
        for _ in range(draw.choice((1, 1, 2, 4, 16))):
            start = min(draw.randrange(len(data)), draw.randrange(len(data)))  # headers matter most
            kind = draw.randrange(7)
            if kind == 0:
                data[start] ^= 1 << draw.randrange(8)
            elif kind == 1:
                data[start] = draw.randrange(256)
            elif kind == 2:
                number = draw.choice(INTERESTING)
                size = draw.choice((1, 2, 4))
                data[start : start + size] = (number & ((1 << 8 * size) - 1)).to_bytes(
                    size, draw.choice(("big", "little"))
                )
            elif kind == 3:
                del data[start : start + draw.randrange(1, 20)]
            elif kind == 4:
                data[start:start] = data[start : start + draw.randrange(1, 40)]
            elif kind == 5:
                del data[draw.randrange(len(data)) :]
            else:
                other = draw.choice(whole)
                data[start:] = other[draw.randrange(len(other)) :]
            data = data or bytearray(b"\0")
        yield bytes(data)


def verdict(data: bytes) -> str:
    """Return "pixels" or the reason; whatever else happens is raised."""
    start = time.thread_time()
    try:
        pixels = decode(data)
        if (pixels.shape, pixels.dtype) != ((224, 224, 3), np.uint8):
            raise AssertionError(f"pixels of {pixels.shape}, {pixels.dtype}")
        found = "pixels"
    except UnreadableImageError as error:
        found = str(error)
        if not found.strip() or " at 0x" in found:
            raise AssertionError(f"{found!r} is no reason") from error
    if (took := time.thread_time() - start) > SECONDS:
        raise AssertionError(f"it took {took:.1f} s")
    return found


def main() -> None:
    """Try mutants until the time is over, and keep what does harm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    end, tried, decoded, harmful = time.monotonic() + 60 * given.minutes, 0, 0, 0
    current = Path("fuzz_failures", "current.bin")
    current.parent.mkdir(exist_ok=True)
    for data in mutants(given.seed):
        if time.monotonic() > end:
            break
        current.write_bytes(data)  # where the process itself dies, this is why
        tried += 1
        try:
            decoded += verdict(data) == "pixels"
        except Exception as error:  # noqa: BLE001 - all of them are findings
            harmful += 1
            current.with_name(f"{given.seed}-{tried}.bin").write_bytes(data)
            print(f"{tried:,}: {type(error).__name__}: {error}")
    current.unlink(missing_ok=True)
    print(f"{tried:,} files, {decoded:,} decoded, {harmful:,} did harm")
    raise SystemExit(harmful > 0)


if __name__ == "__main__":
    main()
