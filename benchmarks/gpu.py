"""Time `extract` on a machine with a GPU, from image files to cache, in at most ten minutes.

    KERAS_BACKEND=jax python benchmarks/gpu.py [DATA] [--images 37500] [--side 384] [--minutes 9]

Without DATA, draws JPEG files on all cores. Then runs `extract` with random weights in new processes, as long as there
is time: first with an empty folder of kept networks, then again, then with threads that decode. Prints of each the
wall time, the images per second while computing, and the seconds of each stage.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from catsdogs.threads import cpu_count

RUN = """
import json, sys, time
from catsdogs.inference import processes
if sys.argv[3] == "threads":
    processes.PROCESSES = 0
import catsdogs
steps, begun = {}, time.perf_counter()
def look(step, done, total):
    steps.setdefault(step, round(time.perf_counter() - begun, 2))
done = catsdogs.extract(sys.argv[1], artifacts=sys.argv[2], weights="random", progress=look)
print(json.dumps({"images": done.computed, "rate": done.rate, "stages": done.stages, "steps begin at": steps,
                  "engine": done.engine, "precision": done.precision}))
"""


def write_images(folder: Path, side: int, numbers: range) -> None:
    """Write one JPEG file for each number."""
    for number in numbers:
        random = np.random.default_rng(number)
        coarse = Image.fromarray(random.integers(0, 256, (side // 8, side // 8, 3), np.uint8))
        content = io.BytesIO()
        coarse.resize((side, side * 3 // 4), Image.Resampling.BICUBIC).save(content, "JPEG", quality=90)
        name = f"{('cat', 'dog')[number % 2]}.{number}.jpg"
        (folder / "train" / name).write_bytes(content.getvalue())


def main() -> None:
    """Draw the images, and time the runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="a folder or a zip of images")
    parser.add_argument("--images", type=int, default=37_500)
    parser.add_argument("--side", type=int, default=384, help="width of the drawn images in pixels")
    parser.add_argument("--minutes", type=float, default=9, help="no run starts that might take longer")
    given = parser.parse_args()
    begun, longest = time.monotonic(), 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not given.data:
            (folder / "data/train").mkdir(parents=True)
            parts = [range(start, given.images, 64) for start in range(64)]
            with ProcessPoolExecutor(cpu_count()) as pool:
                list(pool.map(partial(write_images, folder / "data", given.side), parts))
            print(f"{given.images:,} images drawn in {time.monotonic() - begun:.0f} s", flush=True)
        print(f"{cpu_count()} cores; {_gpu()}", flush=True)
        environment = os.environ | {"CATSDOGS_CACHE": str(folder / "kept")}
        for number, way in enumerate(
            ("processes, first", "processes, again", "threads", "processes, again", "threads")
        ):
            if time.monotonic() - begun + longest > 60 * given.minutes:
                print("no time for more")
                break
            arguments = [str(given.data or folder / "data"), str(folder / f"artifacts-{number}"), way]
            start = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-c", RUN, *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=False
            )
            longest = max(longest, time.monotonic() - start)
            if done.returncode:
                raise SystemExit(f"{way}: exit status {done.returncode}")
            print(f"{way}: {time.monotonic() - start:.1f} s {json.dumps(json.loads(done.stdout))}", flush=True)


def _gpu() -> str:
    try:
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip() or "no GPU"
    except FileNotFoundError:
        return "no GPU"


if __name__ == "__main__":
    main()
