"""Measure whether memory and time of `extract` grow faster than the number of images.

    python benchmarks/growth.py ../shared/data/kaggle/train --weights random --counts 2000 20000

Input: a folder of images, which are copied to reach each count; appended bytes make the copies different. Each count is
extracted in a separate process. Prints the peak memory, the rates of the first and of the last tenth of the images, and
their ratio.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

CHILD = """
import sys, time
import catsdogs
times = []
def progress(step, done, total):
    if step == "computing features":
        times.append(time.perf_counter())
data, folder, weights, engine = sys.argv[1:]
how = catsdogs.ComputeOptions(engine=engine)
catsdogs.extract(data, artifacts=folder, weights=weights, compute=how, progress=progress)
n = len(times)
# The first images wait for the backbone, so the first tenth starts after a twentieth of the images.
edges = [(n // 20, n // 20 + n // 10), (n - n // 10 - 1, n - 1)]
print(*(round((to - of) / (times[to] - times[of]), 1) for of, to in edges))
"""


def main() -> None:
    """Extract each count, and print a line for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder of images")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--counts", type=int, nargs="+", default=[2000, 20000], help="numbers of images")
    given = parser.parse_args()

    images = [path for path in sorted(given.data.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg", ".png")]
    for count in given.counts:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, "images")
            folder.mkdir()
            for number in range(count):
                image = images[number % len(images)]
                more = (number // len(images)).to_bytes(2)
                (folder / f"{number}{image.suffix}").write_bytes(image.read_bytes() + more)
            command = [sys.executable, "-c", CHILD, str(folder), str(Path(scratch, "artifacts"))]
            process = subprocess.Popen(
                [*command, given.weights, given.engine], stdout=subprocess.PIPE, text=True, cwd=ROOT
            )
            output = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                raise SystemExit(f"error: the extraction exited with {os.waitstatus_to_exitcode(status)}")
            first, last = map(float, output.split())
            print(
                f"{count:>7,} images: peak {usage.ru_maxrss / 1024:,.0f} MiB, "
                f"first tenth {first} images/s, last tenth {last} images/s, ratio {last / first:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
