"""Compare measures of similarity: by the classes of the nearest images, or by the ranks of changed copies.

    python benchmarks/nearest.py --features ../shared/features
    python benchmarks/nearest.py --copies ARTIFACTS PHOTOGRAPHS

With --features, a folder with a `features.py` as for `import_features.py`: prints for each measure the share of the
five nearest images that have the class of the image, and how often their majority has it; over 3,000 images.

With --copies, an artifacts folder with a head, and the folder of its photographs: prints for each measure how often the
original is the nearest image of a changed copy of it, by kind of change; over 120 photographs.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from import_features import load
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

import catsdogs
from catsdogs import head
from catsdogs.artifacts import Artifacts
from catsdogs.images.views import parse_views
from catsdogs.inference.batches import compute_all
from catsdogs.inference.plan import load_head_backbone
from catsdogs.sources import image_file

COMPONENTS, NEAREST, QUERIES, COPIED = 128, 5, 3000, 120

Rows = NDArray[np.float32]


def units(rows: Rows) -> Rows:
    """Scale each row to length 1."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1))


def centred(images: Rows, root: bool) -> Callable[[Rows], Rows]:
    """Return the transform to centred rows of length 1, of the features or of their square roots."""
    prepare = (lambda rows: units(np.sqrt(rows))) if root else units
    mean = prepare(images).mean(axis=0)
    return lambda rows: units(prepare(rows) - mean)


def components(images: Rows, power: float, root: bool) -> Callable[[Rows], Rows]:
    """Return the transform to principal components, each divided by a power of its standard deviation."""
    prepare = (lambda rows: units(np.sqrt(rows))) if root else units
    rows = prepare(images)
    mean = rows.mean(axis=0)
    sample = rows[np.random.default_rng(0).permutation(len(rows))[:2048]] - mean
    variances, axes = np.linalg.eigh(sample.T @ sample / len(sample))
    scaled = axes[:, -COMPONENTS:] / np.maximum(variances[-COMPONENTS:], 1e-12) ** (power / 2)
    return lambda rows: units((prepare(rows) - mean) @ scaled)


def measures(images: Rows) -> dict[str, Callable[[Rows], Rows]]:
    """Return by name the transforms after which the dot product is the similarity."""
    return {
        "cosine": units,
        "cosine of square roots": lambda rows: units(np.sqrt(rows)),
        "centred cosine": centred(images, False),
        "centred cosine of square roots": centred(images, True),
        "components, half whitened": components(images, 0.5, False),
        "components of square roots, half whitened": components(images, 0.5, True),
        "components, whitened": components(images, 1, False),
    }


def compare_classes(folder: Path) -> None:
    """Print how well the classes of the nearest images agree."""
    _, labels, views = load(folder / "features.py", ["224"])
    images = views["224"]
    queries = np.random.default_rng(0).permutation(len(images))[:QUERIES]
    for name, transform in measures(images).items():
        rows = transform(images)
        similar = rows[queries] @ rows.T
        similar[np.arange(len(queries)), queries] = -np.inf
        near = labels[np.argpartition(-similar, NEAREST, axis=1)[:, :NEAREST]]
        same = (near == labels[queries][:, np.newaxis]).mean()
        majority = ((near.mean(axis=1) > 0.5) == labels[queries]).mean()
        print(f"{name:<42} same class {same:.4f}, majority {majority:.4f}", flush=True)


def _crop(image: Any, fraction: float) -> Any:
    width, height = image.size
    left, top = int(width * fraction / 2), int(height * fraction / 2)
    return image.crop((left, top, width - left, height - top))


CHANGES: dict[str, tuple[Callable[[Any], Any], int]] = {
    "quality 20": (lambda image: image, 20),
    "half the size": (lambda image: image.resize((image.width // 2, image.height // 2)), 60),
    "cropped 10 %": (lambda image: _crop(image, 0.1), 90),
    "cropped 30 %": (lambda image: _crop(image, 0.3), 90),
    "cropped 50 %": (lambda image: _crop(image, 0.5), 90),
    "mirrored": (lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 90),
    "brighter": (lambda image: ImageEnhance.Brightness(image).enhance(1.5), 90),
    "grey": (lambda image: image.convert("L"), 90),
}
"""How a copy is changed, and the quality of its JPEG."""


def compare_copies(artifacts: Path, photographs: Path) -> None:
    """Print how often the original of a changed copy is the nearest image."""
    opened = Artifacts(artifacts)
    splits = [catsdogs.load_features(artifacts, split=split) for split in opened.cache.digests()]
    images = np.concatenate([split.features[split.readable, :2048] for split in splits])
    ids = np.concatenate([split.ids[split.readable] for split in splits])
    paths = {path.stem: path for path in photographs.rglob("*.jpg")}
    copied = [row for row in np.random.default_rng(0).permutation(len(ids)).tolist() if ids[row] in paths][:COPIED]
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for row in copied:
            original = Image.open(paths[ids[row]]).convert("RGB")
            for change, quality in CHANGES.values():
                path = Path(folder, f"{len(files)}.jpg")
                change(original).save(path, quality=quality)
                files.append(image_file(path, (path.name,)))
        backbone = load_head_backbone(head.load(opened), opened, None)
        *_, copies = compute_all(files, parse_views(splits[0].views[:1]), backbone, "computing")
    originals = np.repeat(copied, len(CHANGES))
    for name, transform in measures(images).items():
        similar = transform(copies) @ transform(images).T
        first = (similar <= similar[np.arange(len(copies)), originals][:, np.newaxis] + 1e-6).all(axis=1)
        shares = first.reshape(-1, len(CHANGES)).mean(axis=0)
        listed = ", ".join(f"{change} {share:.3f}" for change, share in zip(CHANGES, shares, strict=True))
        print(f"{name:<42} all {first.mean():.4f}: {listed}", flush=True)


def main() -> None:
    """Compare as the options ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, help="a folder with features.py")
    parser.add_argument("--copies", type=Path, nargs=2, help="an artifacts folder and its photographs")
    given = parser.parse_args()
    if given.features:
        compare_classes(given.features)
    if given.copies:
        compare_copies(*given.copies)


if __name__ == "__main__":
    main()
