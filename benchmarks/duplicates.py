"""Time the search for near-duplicates, and measure its recall and precision.

    python benchmarks/duplicates.py --counts 25000 100000 300000
    python benchmarks/duplicates.py --features ../shared/features

Input: random features in 300 clusters, or with --features those of Kaggle's 25,000 images. Copies of some images, with
little to much noise, are added. An exhaustive comparison of all images defines which pairs are near-duplicates.

Prints a row for each count of images: wall and CPU time, the pairs found, the copies that are near-duplicates of their
original, the fraction of these that was found, the found pairs that are neither copies nor near-duplicates, and the
additional memory.
"""

import argparse
import resource
import runpy
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from catsdogs.cache import components, digest, neighbours, ratio_test

WIDTH, CLUSTERS, LATENT = 2048, 300, 192


class Copies:
    """Rows of features, followed by copies of some rows, each multiplied by noise."""

    def __init__(self, own, rows_of, planted, seed=0):
        random = np.random.default_rng(seed)
        self.own, self.rows_of, self.shape = own, rows_of, (own + planted, WIDTH)
        self.source = random.choice(own, planted, replace=False)
        self.noise = random.uniform(0.05, 0.8, planted)

    def __getitem__(self, rows):
        copy = np.maximum(rows - self.own, 0)
        features = self.rows_of(np.where(rows < self.own, rows, self.source[copy]))
        for place in np.flatnonzero(rows >= self.own):
            random = np.random.default_rng(copy[place])
            features[place] *= random.normal(1, self.noise[copy[place]], WIDTH).astype(np.float32)
        return features


def draw(n, seed=0):
    """Return a function from row numbers to features of `n` images: rectified, and in clusters."""
    random = np.random.default_rng(seed)
    scale = (1 + np.arange(LATENT, dtype=np.float32)) ** -0.4
    centres = random.standard_normal((CLUSTERS, LATENT), np.float32)
    mixing = random.standard_normal((LATENT, WIDTH), np.float32)
    latent = random.standard_normal((n, LATENT), np.float32)
    for start in range(0, n, 10_000):
        block = latent[start : start + 10_000]
        block += centres[random.integers(0, CLUSTERS, len(block))]
        block *= scale
    return lambda rows: np.maximum(latent[rows] @ mixing, 0)


def near(points, rows):
    """Return for each of `rows` the set of its near-duplicates, by comparison with all rows."""

    def compare(block):
        distances = np.maximum(1 - points[block] @ points.T, 1e-6)
        distances[np.arange(len(block)), block] = np.inf
        tenth = np.partition(distances, 9, axis=1)[:, 9]
        return [set(np.flatnonzero(row).tolist()) for row in distances < ratio_test.RATIO * tenth[:, np.newaxis]]

    with ThreadPoolExecutor() as threads:
        blocks = threads.map(compare, (rows[start : start + 16] for start in range(0, len(rows), 16)))
        return dict(zip(rows, chain.from_iterable(blocks), strict=True))


def measure(n, planted, folder):
    """Search once, and return a row of the table."""
    if folder:
        stored = runpy.run_path(str(folder / "features.py"))["load"]("224")[2]["224"]
        features = Copies(len(stored), stored.__getitem__, planted)
    else:
        features = Copies(n - planted, draw(n - planted), planted)
    n = features.shape[0]
    digests = np.stack([digest(str(row).encode()) for row in range(n)])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, processor = time.perf_counter(), time.process_time()
    first, second, _ = neighbours.find_pairs(digests, features)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak

    found = set(zip(first.tolist(), second.tolist(), strict=True))
    wanted = {(int(row), features.own + copy) for copy, row in enumerate(features.source)}
    order = np.unique(neighbours.group_keys(digests), return_index=True)[1]
    project, _ = components.fit_components(features, order)
    points = np.concatenate([project(features[np.arange(at, min(at + 512, n))]) for at in range(0, n, 512)])
    near_to = near(points, sorted({row for pair in found | wanted for row in pair}))
    pairs = {(a, b) for a, b in found | wanted if b in near_to[a] and a in near_to[b]}
    return (
        f"{n:>9,} {wall:>8.1f} {processor:>10.1f} {len(found):>7,} {len(wanted & pairs):>8,} "
        f"{len(found & wanted & pairs) / max(1, len(wanted & pairs)):>7.4f} {len(found - pairs - wanted):>6,} "
        f"{more / 1024:>9,.0f}"
    )


def main():
    """Measure each count in a separate process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[25_000, 100_000], help="numbers of images")
    parser.add_argument("--planted", type=int, default=1000, help="number of copies among them")
    parser.add_argument("--features", type=Path, help="a folder with features.py, instead of random features")
    given = parser.parse_args()
    print("   images  seconds      CPU s   pairs   copies  recall  false   more MiB", flush=True)
    for n in given.counts if given.features is None else [0]:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            print(process.submit(measure, n, given.planted, given.features).result(), flush=True)


if __name__ == "__main__":
    main()
