"""Count which damaged JPEGs are refused, and whether whole ones are: that of each way to write a JPEG.

    python benchmarks/cut_jpegs.py PHOTOGRAPHS [--cjpeg PROGRAM]

PHOTOGRAPHS is a folder of JPEG files, of which 40 are written again by Pillow, and by libjpeg-turbo's cjpeg if it is
given: sequential and progressive, with restart markers, in several subsamplings and scan scripts, grey, RGB, CMYK, in
arithmetic coding. Whole files must have Pillow's pixels. Then some are cut before an end marker, lack bytes within, or
before a restart marker, or have zeros instead. Prints a row for each kind of damage: how many are refused, have the
right pixels in spite of it, have wrong pixels in at most a hundredth of the image, or in more.
"""

import argparse
import collections
import io
import itertools
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from catsdogs.images.decoding import UnreadableImageError, decode

OPTIONS = ({}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 7}, {"quality": 10}, {"quality": 97})
SUBSAMPLINGS = ("1x1", "2x1", "2x2", "1x2", "4x1")
MODES = ("", "-optimize", "-progressive", "-arithmetic", "-progressive -arithmetic")
SCRIPTS = {
    "sequential": "0;1 2;",
    "by_spectrum": "0: 0-0,0,0; 1: 0-0,0,0; 2: 0-0,0,0; 0: 1-63,0,0; 1: 1-63,0,0; 2: 1-63,0,0;",
    "by_bits": "0,1,2: 0-0,0,2; 0,1,2: 0-0,2,1; 0,1,2: 0-0,1,0;"
    + "".join(f"{c}: 1-9,0,2; {c}: 10-63,0,1; {c}: 1-9,2,1; {c}: 1-63,1,0;" for c in range(3)),
}
WIDTH = 200


def variants(picture, cjpeg, folder):
    """Yield a name and a JPEG for each way to write a picture."""
    for mode, progressive, options in itertools.product(("RGB", "L", "CMYK"), (False, True), OPTIONS):
        file = io.BytesIO()
        picture.convert(mode).save(file, "JPEG", progressive=progressive, **options)
        yield "progressive" if progressive else "sequential", file.getvalue()
    settings = [f"-sample {factors} {mode}" for factors in SUBSAMPLINGS for mode in MODES]
    settings += [f"-restart {interval} {mode}" for interval in ("1", "1B", "40B") for mode in MODES]
    settings += [f"-scans {folder / name} {more}" for name in SCRIPTS for more in ("", "-restart 3B", "-sample 1x1")]
    settings += [f"{colours} {mode}" for colours in ("-grayscale", "-rgb") for mode in MODES]
    for setting in settings if cjpeg else ():
        file = io.BytesIO()
        picture.save(file, "PPM")
        jpeg = subprocess.run([cjpeg, *setting.split()], input=file.getvalue(), capture_output=True, check=True).stdout
        several = "progressive" in setting or "scans" in setting
        yield "arithmetic" if "arithmetic" in setting else "progressive" if several else "sequential", jpeg


def damaged(jpeg, random):
    """Yield the kind of damage and a damaged JPEG."""
    start = jpeg.find(b"\xff\xda") + 14
    length = len(jpeg) - start - 2
    for kind, least in (("cut", 0.02), ("cut near its end", 0.9)):
        yield kind, jpeg[: start + int(length * random.uniform(least, 1))].rstrip(b"\xff") + b"\xff\xd9"
    size = min(4096, length // 4)
    place = start + int(random.integers(length - size))
    yield "bytes are missing", jpeg[:place] + jpeg[place + size :]
    yield "a comment within", jpeg[:place] + b"\xff\xfe\0\4" + jpeg[place:]
    yield "cut, with a comment", jpeg[:place] + b"\xff\xfe\0\4ab\xff\xd9"
    yield "zeros instead", jpeg[:place] + bytes(size) + jpeg[place + size :]
    restarts = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", jpeg[start:])]
    if len(restarts) < 3:
        return
    number = int(random.integers(1, len(restarts) - 1))
    before, place, behind = (start + restart for restart in restarts[number - 1 : number + 2])
    lost = int(random.integers(1, max(2, place - before - 2)))
    yield "bytes before a restart", jpeg[: place - lost].rstrip(b"\xff") + jpeg[place:]
    yield "an interval", jpeg[:place] + jpeg[behind:]


def outcome(jpeg, expected):
    """Return what becomes of a damaged JPEG."""
    try:
        differ = np.abs(decode(jpeg, WIDTH).astype(int) - expected).max(axis=2) > 2
    except UnreadableImageError:
        return "refused"
    return "right" if not differ.any() else "wrong, at most 1 %" if differ.mean() <= 0.01 else "wrong"


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--cjpeg")
    given = parser.parse_args()
    random = np.random.default_rng(0)
    paths = sorted(given.photographs.rglob("*.jpg"))
    ImageFile.MAXBLOCK = 1 << 26  # in blocks of 64 KB, Pillow's own reader refuses arithmetic coding
    counts, whole = collections.defaultdict(collections.Counter), collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for name, script in SCRIPTS.items():
            (Path(folder) / name).write_text(script)
        scripts = Path(folder)
        for number, place in enumerate(random.permutation(len(paths))[:40]):
            with Image.open(paths[place]) as opened:
                picture = opened.convert("RGB")
            if number % 4 == 0:  # the lower part of one colour, as in many photographs of products
                picture.paste((255, 255, 255), (0, picture.height // 3, *picture.size))
            for coding, jpeg in variants(picture, given.cjpeg, scripts):
                with Image.open(io.BytesIO(jpeg)) as image:
                    pixels = np.asarray(image.resize((WIDTH, WIDTH), Image.Resampling.BICUBIC).convert("RGB"))
                expected = decode(jpeg, WIDTH).astype(int)
                assert image.mode == "CMYK" or (expected == pixels).all()
                whole[coding] += 1
                for kind, changed in damaged(jpeg, random):
                    counts[coding, kind][outcome(changed, expected)] += 1
    print("whole, all read:", dict(whole))
    columns = ("refused", "right", "wrong, at most 1 %", "wrong")
    print(f"{'':30}" + "".join(f"{column:>20}" for column in columns))
    for (coding, kind), found in sorted(counts.items()):
        print(f"{f'{coding}, {kind}':30}" + "".join(f"{found[column]:20}" for column in columns))


if __name__ == "__main__":
    main()
