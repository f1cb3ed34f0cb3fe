"""Make anew those of `catsdogs/images/samples.zip` that are drawn; the others are kept as they are.

Run as `python -m support.codec_samples` in `tests`. Other bytes are another identity of the pixels, and so make every
cache and every head that people have one of other decoders: weigh it.
"""

import io
import zipfile
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from support.pictures import bmp, partial, tiff

PATH = Path(str(files("catsdogs.images") / "samples.zip"))


def read_samples() -> dict[str, bytes]:
    """Return the files by name."""
    with zipfile.ZipFile(PATH) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def draw_samples() -> dict[str, bytes]:
    """Draw what is compressed with loss, in odd sizes with sharp edges, and what TIFF compresses."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (5, 7, 3), np.uint8)).resize((29, 21), Image.Resampling.NEAREST)
    noise = Image.fromarray(random.integers(0, 256, (21, 29, 3), np.uint8))
    photo = Image.blend(coarse.resize((29, 21)), noise, 0.15)
    alpha = photo.copy()
    alpha.putalpha(Image.linear_gradient("L").resize((29, 21)))
    bilevel = Image.fromarray(random.integers(0, 2, (96, 48), np.uint8) * 255).convert("1")
    small = np.asarray(coarse.resize((9, 7)))
    grey, zeros = small[..., :1], np.zeros((7, 9, 1), np.uint8)
    indices = np.arange(63, dtype=np.uint8).reshape(7, 9, 1)
    return {
        "zero_alpha.bmp": bmp(np.dstack([small, zeros]), 124),
        "planar16.tif": tiff(small.astype("<u2") * 257, bits=16, photometric=2, planar=2),
        "premultiplied.tif": tiff(np.dstack([grey // 2, zeros + 128]), bits=8, photometric=1, extra=1),
        "palette8.tif": tiff(indices, bits=4, photometric=3, tags={256: 18, 320: [*range(0, 255, 16)] * 3}.items()),
        "partial.gif": partial("GIF", coarse.resize((10, 8)))[0],
        "partial.webp": partial("WEBP", coarse.resize((10, 8)))[0],
        "noise.png": _encode(bilevel, "PNG"),
        "420.jpg": _encode(photo, "JPEG", quality=70),
        "422_progressive.jpg": _encode(photo, "JPEG", quality=70, subsampling="4:2:2", progressive=True),
        "grey.jpg": _encode(photo.convert("L"), "JPEG", quality=70),
        "lossy.webp": _encode(photo, "WEBP", quality=70),
        "lossy_alpha.webp": _encode(alpha, "WEBP", quality=70),
        "lossless.webp": _encode(coarse, "WEBP", lossless=True),
        "ycbcr.tif": _encode(photo, "TIFF", compression="jpeg"),
        "lzw.tif": _encode(coarse, "TIFF", compression="tiff_lzw"),
        "group4.tif": _encode(bilevel.crop((0, 0, 29, 21)), "TIFF", compression="group4"),
    }


def write_samples(samples: dict[str, bytes]) -> None:
    """Write the zip, the same bytes for the same files."""
    with zipfile.ZipFile(PATH, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(samples.items()):
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def _encode(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


if __name__ == "__main__":
    write_samples((read_samples() if PATH.exists() else {}) | draw_samples())
