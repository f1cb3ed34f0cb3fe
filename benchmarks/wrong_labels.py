"""Give images wrong labels on purpose, and count how many are at the start of the review queue.

    python benchmarks/wrong_labels.py ARTIFACTS --wrong 30 --first 40 --seeds 8

Input: an artifacts folder with features of labelled images. For each seed, a head is trained on a copy in which some
images (`--wrong`) have the wrong label. Prints how many of these are among the first of the queue (`--first`). Then a
reviewer who knows the true labels answers these, and a head is trained on the result: prints the out-of-fold log loss
against the true labels of both heads, and of a head that is trained on the true labels.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import catsdogs
from catsdogs.artifacts import Artifacts
from catsdogs.head.metrics import log_loss
from catsdogs.reporting.findings import gather
from catsdogs.reporting.queue import build_queue


def trained(images: catsdogs.Features, labels: NDArray[np.int8], folder: Path) -> Artifacts:
    """Train a head on the images with these labels, in a folder of its own, and return the artifacts."""
    kept = images.readable
    view = images.features[kept, :2048]
    catsdogs.import_features(images.ids[kept], labels[kept], views={"224": view}, artifacts=folder)
    catsdogs.train(folder)
    return Artifacts(folder)


def loss(artifacts: Artifacts, true: dict[str, int]) -> float:
    """Return the out-of-fold log loss against the true labels."""
    scored = gather(artifacts).train
    labels = np.array([true[name] for name in scored.ids.tolist()])
    return log_loss(labels, scored.logits)


def main() -> None:
    """Measure each seed, and print a row for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", type=Path, help="a folder with features")
    parser.add_argument("--wrong", type=int, default=30, help="number of labels to change")
    parser.add_argument("--first", type=int, default=40, help="number of images that are reviewed")
    parser.add_argument("--seeds", type=int, default=8, help="number of seeds")
    given = parser.parse_args()

    images = catsdogs.load_features(given.artifacts)
    true = dict(zip(images.ids.tolist(), images.labels.tolist(), strict=True))
    rows = np.flatnonzero(images.readable & (images.labels >= 0))
    print("seed  found  log loss: before  after  true labels")
    for seed in range(given.seeds):
        labels = images.labels.copy()
        wrong = np.random.default_rng(seed).choice(rows, given.wrong, replace=False)
        labels[wrong] = 1 - labels[wrong]
        with tempfile.TemporaryDirectory() as folder:
            before = trained(images, labels, Path(folder, "before"))
            queue = build_queue(gather(before), before.cache.load())
            asked = np.isin(images.ids, [image.id for image in queue[: given.first]])
            corrected = np.where(asked, images.labels, labels)
            after, best = (
                trained(images, of, Path(folder, name)) for name, of in (("after", corrected), ("best", images.labels))
            )
            found = int(asked[wrong].sum())
            losses = [f"{loss(head, true):.4f}" for head in (before, after, best)]
        print(f"{seed:>4}  {found:>2}/{given.wrong}  {losses[0]:>16}  {losses[1]}  {losses[2]}", flush=True)


if __name__ == "__main__":
    main()
