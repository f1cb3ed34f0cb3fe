"""Decode every image file below a folder, and compare the pixels with those of OpenCV and tifffile.

    uv run --with opencv-python-headless --with tifffile --with imagecodecs python benchmarks/decoders.py FOLDER

Input: folders of test images, such as Pillow's `Tests/images`, PngSuite or bmpsuite. TIFF files that OpenCV refuses are
read by tifffile. Prints, for each subfolder of FOLDER, the number of files, and of how many both decoders give the same
pixels, both refuse, only catsdogs decodes, only the others decode, and both give different pixels. Then the files of
the last two kinds, with the reason or the difference, and the slowest files. Pixels are the same if no more than one in
a hundred differs by more than 12 levels: decoders may upsample chroma and round in different ways.
"""

import argparse
import io
import time
import warnings
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from catsdogs.images.decoding import UnreadableImageError, decode_thumbnail

ENDINGS = {".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".png", ".apng", ".tif", ".tiff", ".webp"}
KINDS = ("same", "both refuse", "only catsdogs", "only others", "different")
TOLERANCE, EXCEPTIONS = 12, 0.01

_MOST_VALUES = 100_000_000
"""Values of a TIFF that tifffile may decode: it has no limit of its own."""


def main() -> None:
    """Compare all files, and print the counts and the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    warnings.simplefilter("ignore")
    counts: dict[str, Counter[str]] = {}
    lines, times = [], []
    for path in sorted(file for file in folder.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file()):
        name, data = path.relative_to(folder), path.read_bytes()
        theirs = _theirs(data)
        start = time.perf_counter()
        ours = _ours(data, max((side for other in theirs for side in other.shape), default=1000))
        times.append((time.perf_counter() - start, name))
        kind, why = _compare(ours, theirs)
        counts.setdefault(name.parts[0], Counter())[kind] += 1
        if kind in ("only others", "different"):
            lines.append(f"{kind:14} {name}: {why}")
    print(f"| folder | files | {' | '.join(KINDS)} |\n|{' --- |' * (len(KINDS) + 2)}")
    for part, found in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        print(f"| {part} | {found.total()} | {' | '.join(str(found[kind]) for kind in KINDS)} |")
    print("", *sorted(lines), "", *(f"{seconds:6.2f} s {name}" for seconds, name in sorted(times)[-5:]), sep="\n")


def _ours(data: bytes, side: int) -> NDArray[np.uint8] | str:
    try:
        return decode_thumbnail(data, side)
    except UnreadableImageError as error:
        return str(error)


def _theirs(data: bytes) -> list[NDArray[np.float64]]:
    """Return what the other decoders make of a file: upright and as it is stored, over white, 0 to 255."""
    found = []
    for flags in (cv2.IMREAD_COLOR, cv2.IMREAD_UNCHANGED):
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error:
            image = None
        if image is not None:
            found.append(_over_white(image[..., [2, 1, 0, *range(3, image.shape[2])]] if image.ndim == 3 else image))
    if not found and data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        try:
            with tifffile.TiffFile(io.BytesIO(data)) as file:
                page = file.pages[0]
                if page.size > _MOST_VALUES:
                    return found
                image = page.asarray()
                image = np.moveaxis(image, 0, -1) if page.planarconfig == 2 and image.ndim == 3 else image
                largest = None if image.dtype.kind in "fi" else 2**page.bitspersample - 1
                if page.photometric == 0:
                    image = largest - image
                if page.photometric == 3:
                    image, largest = np.asarray(page.colormap).T[image], 65535
                if page.photometric < 5:
                    found.append(_over_white(np.squeeze(image), largest, premultiplied=1 in page.extrasamples))
        except Exception:  # noqa: BLE001 - of damaged files, which are here to be tried
            pass
    return found


def _over_white(
    image: NDArray[np.generic], largest: float | None = None, *, premultiplied: bool = False
) -> NDArray[np.float64]:
    values = np.nan_to_num(image.astype(float) / (largest or _largest(image.dtype)))
    values = np.stack([values] * 3, -1) if values.ndim == 2 else values
    if values.shape[-1] in (2, 4):
        colours, alpha = values[..., :-1], values[..., -1:]
        values = (colours if premultiplied else colours * alpha) + (1 - alpha)
    return 255 * np.broadcast_to(values, (*values.shape[:2], 3)) if values.shape[-1] in (1, 3) else values


def _largest(dtype: np.dtype[np.generic]) -> float:
    return 1.0 if dtype.kind in "fb" else np.iinfo(dtype).max


def _compare(ours: NDArray[np.uint8] | str, theirs: list[NDArray[np.float64]]) -> tuple[str, str]:
    if isinstance(ours, str):
        return ("only others", ours) if theirs else ("both refuse", ours)
    if not theirs:
        return "only catsdogs", ""
    shapes = [other.shape for other in theirs]
    comparable = [other for other in theirs if other.shape == ours.shape]
    if not comparable:
        return "different", f"shape {ours.shape}, others {shapes}"
    far = min(
        ((np.abs(ours - other).max(-1) > TOLERANCE).mean(), float(np.abs(ours - other).mean())) for other in comparable
    )
    return (
        ("same", "") if far[0] <= EXCEPTIONS else ("different", f"{far[0]:.1%} of the pixels, mean {far[1]:.1f} levels")
    )


if __name__ == "__main__":
    main()
