"""Computed features and some photographs come in; out goes how long a report on as many files as features takes.

    python benchmarks/reports.py ../shared/features ../shared/data/kaggle/train OUT

Each file is a copy of one of the photographs of its class and ends in bytes of its own, so that no two are the same.
What the head says of a picture is thus nothing that anybody could see in it.
"""

import argparse
import itertools
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from import_features import load

import catsdogs
from catsdogs.artifacts import Artifacts
from catsdogs.cache import CacheWriter, Provenance, digest
from catsdogs.sources.classes import CLASSES
from catsdogs.storage import record

VIEW, RUNS = "224", 3


def main() -> None:
    """Make the files, the cache and the head, and time the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path, help="a folder that holds features.py")
    parser.add_argument("photographs", type=Path, help="a folder of cat.N.jpg and dog.N.jpg")
    parser.add_argument("out", type=Path, help="the data and the artifacts go there")
    given = parser.parse_args()

    ids, labels, views = load(given.features / "features.py", [VIEW])
    data, artifacts = given.out / "data", Artifacts(given.out / "artifacts")
    data.mkdir(parents=True, exist_ok=True)
    photographs = {name: itertools.cycle(sorted(given.photographs.rglob(f"{name}.*.jpg"))) for name in CLASSES}
    provenance = Provenance("imported", "0" * 64, "imported", "unknown", "float32", "imported")
    wanted = {"train": (ids, np.asarray(labels, np.int8))}
    digests = []
    with CacheWriter(artifacts.features, provenance, (VIEW,), wanted) as cache:
        for position, (name, label) in enumerate(zip(ids, labels, strict=True)):
            photograph = next(photographs[CLASSES[label]])
            content = photograph.read_bytes() + f"\n{name}".encode()
            (data / f"{name}.jpg").write_bytes(content)
            digests.append(digest(content))
            cache.add(digests[-1], {VIEW: np.asarray(views[VIEW][position], np.float32)})
        cache.assemble(np.array(digests))
        record(artifacts.source, train=str(data.resolve()))
    catsdogs.train(artifacts.root)

    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "catsdogs", "report", "--artifacts", artifacts.root], check=True)
        seconds = time.perf_counter() - start
        print(f"{len(ids):,} images: {seconds:.1f} s for the process, {artifacts.report.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
