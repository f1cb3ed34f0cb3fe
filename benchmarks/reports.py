"""Time `report`, `review` and `similar` on as many image files as there are features.

    python benchmarks/reports.py ../shared/features ../shared/data/kaggle/train OUT

Input: a folder with computed features, and a folder of photographs. For each row of features, a photograph of its class
is copied, with appended bytes that make all files different; the predictions do not describe these photographs. Prints
the times of the process and the size of the page, for each of three runs.
"""

import argparse
import itertools
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from import_features import load

import catsdogs
from catsdogs.artifacts import Artifacts
from catsdogs.cache import CacheWriter, Manifest, Provenance, digest
from catsdogs.cache.nearest import find_nearest
from catsdogs.sources.classes import CLASSES
from catsdogs.storage import record

VIEW, RUNS = "224", 3


def main() -> None:
    """Create the files, the cache and the head, and time the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path, help="a folder with features.py")
    parser.add_argument("photographs", type=Path, help="a folder of cat.N.jpg and dog.N.jpg")
    parser.add_argument("out", type=Path, help="the folder for the data and the artifacts")
    given = parser.parse_args()

    ids, labels, views = load(given.features / "features.py", [VIEW])
    data, artifacts = given.out / "data", Artifacts(given.out / "artifacts")
    data.mkdir(parents=True, exist_ok=True)
    photographs = {name: itertools.cycle(sorted(given.photographs.rglob(f"{name}.*.jpg"))) for name in CLASSES}
    provenance = Provenance("imported", "0" * 64, "imported", "unknown", "float32", "imported")
    wanted = {"train": (ids, np.asarray(labels, np.int8))}
    digests = []
    with CacheWriter(artifacts.features, Manifest(provenance, (VIEW,), {}), wanted) as cache:
        for position, (name, label) in enumerate(zip(ids, labels, strict=True)):
            photograph = next(photographs[CLASSES[label]])
            content = photograph.read_bytes() + f"\n{name}".encode()
            (data / f"{name}.jpg").write_bytes(content)
            digests.append(digest(content))
            cache.add_rows(
                digests[-1][np.newaxis], {VIEW: np.asarray(views[VIEW][position : position + 1], np.float32)}
            )
        cache.assemble(np.array(digests))
        record(artifacts.source, train=str(data.resolve()))
    catsdogs.train(artifacts.root)

    page = given.out / "similar.html"
    commands = {
        "report": (["report"], artifacts.report),
        "review": (["review"], artifacts.review),
        "similar": (["similar", str(ids[0]), "--html", str(page)], page),
    }
    for _, (name, (command, path)) in itertools.product(range(RUNS), commands.items()):
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        program = [sys.executable, "-m", "catsdogs", *command, "--artifacts", str(artifacts.root), "--quiet"]
        subprocess.run(program, check=True, stdout=subprocess.DEVNULL)
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        times = f"{seconds:.1f} s for the process, {processor:.1f} s of processor time"
        print(f"{name}, {len(ids):,} images: {times}, {path.stat().st_size:,} bytes", flush=True)
    _time_search(artifacts)


def _time_search(artifacts: Artifacts) -> None:
    """Print the time to find the images nearest to one image, with the features in memory."""
    features = artifacts.cache.load().features
    for row in range(RUNS):
        start = time.perf_counter()
        find_nearest(features, features[row : row + 1], 10)
        print(f"nearest of {len(features):,} images: {time.perf_counter() - start:.3f} s")


if __name__ == "__main__":
    main()
