"""Count which copies of photographs are found in small sets and in large groups, and which frames of films.

    python benchmarks/copies.py PHOTOGRAPHS WEIGHTS

PHOTOGRAPHS is a folder of at least 860 JPEG files. Prints a row for each kind of copy and each number of pictures and
copies, alone and among 800 other photographs, films also among 40: the share of the pictures whose copies are all in
one group, the share of the links between one copy, or frame, and the next that are within a group, and the false pairs.
A film is made of one photograph, by a camera that moves over it or approaches it, or by a still camera with noise.
Computing the features of some 3,700 images takes most of the time.
"""

import argparse
import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

import catsdogs
from catsdogs.cache import digest
from catsdogs.cache.groups import connected_groups
from catsdogs.cache.neighbours import find_pairs

KINDS = ("recompressed", "turned", "cropped", "brightened", "all")
SETS = ((60, 2), (30, 4), (20, 12))
FILMS = {"panning": (4, 120), "still": (2, 120), "zooming": (12, 40)}  # and their frames
OTHERS = 800


def copy(image, kind, seed):
    """Return the bytes of a changed copy."""
    random, (width, height) = np.random.default_rng(seed), image.size
    if kind in ("turned", "all"):
        image = image.rotate(random.uniform(1, 4) * random.choice([-1, 1]), Image.Resampling.BICUBIC)
    if kind in ("cropped", "all"):
        left, top, right, bottom = random.uniform(0.02, 0.08, 4)
        image = image.crop((int(left * width), int(top * height), int((1 - right) * width), int((1 - bottom) * height)))
    if kind in ("brightened", "all"):
        image = ImageEnhance.Brightness(image).enhance(random.uniform(0.8, 1.25))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(random.integers(60, 96)))
    return file.getvalue()


def frame(image, kind, number, frames, seed):
    """Return the bytes of a frame of a film."""
    image = image.resize((640, 480))
    if kind == "panning":
        scale = 0.45 + 0.2 * number / frames
        width, height = int(640 * scale), int(480 * scale)
        left, top = int((640 - width) * number / (frames - 1)), int((480 - height) * (0.5 + 0.5 * np.sin(number / 30)))
        image = image.crop((left, top, left + width, top + height))
    elif kind == "zooming":
        left, top = int(220 * number / frames), int(160 * number / frames)
        image = image.crop((left, top, 640 - left, 480 - top))
    else:
        noise = np.random.default_rng(seed).normal(0, 6, (480, 640, 3))
        image = Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


def compute(photographs, weights, folder):
    """Return features by (kind, picture, copy), and those of the others."""
    paths = sorted(photographs.rglob("*.jpg"))
    paths = [paths[place] for place in np.random.default_rng(0).permutation(len(paths))[: 60 + OTHERS]]
    (folder / "images").mkdir()
    for number, path in enumerate(paths[60:]):
        (folder / f"images/other_{number}_0.jpg").write_bytes(path.read_bytes())
    for place, kind in enumerate(KINDS):
        for number, path in enumerate(paths[:60]):
            with Image.open(path) as opened:
                image = opened.convert("RGB")
            for again in range(max(copies for pictures, copies in SETS if number < pictures)):
                content = copy(image, kind, (place, number, again))
                (folder / f"images/{kind}_{number}_{again}.jpg").write_bytes(content)
    for kind, (films, frames) in FILMS.items():
        for number, path in enumerate(paths[:films]):
            with Image.open(path) as opened:
                image = opened.convert("RGB")
            for again in range(frames):
                content = frame(image, kind, again, frames, (number, again))
                (folder / f"images/{kind}_{number}_{again}.jpg").write_bytes(content)
    catsdogs.extract(folder / "images", artifacts=folder / "artifacts", weights=weights, near_duplicates=False)
    ids, features = (np.load(folder / f"artifacts/features/test/{name}.npy") for name in ("ids", "224"))
    return {str(name).removesuffix(".jpg"): row for name, row in zip(ids, features, strict=True)}


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("weights")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        features = compute(given.photographs, given.weights, Path(folder))
    others = np.stack([features[f"other_{number}_0"] for number in range(OTHERS)])
    print(f"{'copies':14}{'set':>8}{'among':>7}{'together':>10}{'links':>7}{'false':>7}", flush=True)
    for kind in (*KINDS, *FILMS):
        for pictures, copies in SETS if kind in KINDS else [FILMS[kind]]:
            for among in (0, 40, OTHERS) if kind in FILMS else (0, OTHERS):
                rows = [features[f"{kind}_{n}_{again}"] for n in range(pictures) for again in range(copies)]
                picture = np.concatenate([np.repeat(np.arange(pictures), copies), 1000 + np.arange(among)])
                images = np.concatenate([rows, others[:among]])
                first, second, _ = find_pairs(np.stack([digest(str(n).encode()) for n in range(len(images))]), images)
                groups = connected_groups(len(images), first, second)
                together = [len(set(groups[picture == number].tolist())) == 1 for number in range(pictures)]
                next_one = np.flatnonzero(picture[1:] == picture[:-1])
                links = np.mean(groups[next_one] == groups[next_one + 1])
                false = np.sum(picture[first] != picture[second])
                row = (
                    f"{kind:14}{f'{pictures} x {copies}':>8}{among:>7}{np.mean(together):>10.3f}{links:>7.3f}{false:>7}"
                )
                print(row, flush=True)


if __name__ == "__main__":
    main()
