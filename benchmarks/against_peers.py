"""Images and the peers' script come in; out goes how fast extraction is beside Keras' recipe and the compute bound.

    python benchmarks/against_peers.py ../shared/data/kaggle/train ../shared/bench/peers.py --runs 5

Each in a process of its own and in turn (A B C D, A B C D), so that a machine whose speed drifts is fair to all: only
ratios taken together count. Ours is `rate` in timings.json, from the first stored batch to the last, files to cache,
random weights in the true ResNet50. Prints every figure, the medians, and the medians of the ratios of each round.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Run all in turn, and print rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder of images")
    parser.add_argument("peers", type=Path, help="the script that measures recipe and bound")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--engines", default="tensorflow,openvino", help="also ENGINE:PRECISION, such as openvino:int8")
    given = parser.parse_args()

    rates = defaultdict(list)
    for _ in range(given.runs):
        for peer in (["recipe", str(given.data)], ["bound"]):
            rates[peer[0]].append(_said([str(given.peers), *peer])["rate"])
        for engine in given.engines.split(","):
            rates[engine].append(_ours(given.data, engine))
        print({name: of_runs[-1] for name, of_runs in rates.items()}, "load", os.getloadavg()[0], flush=True)
    for name, of_runs in rates.items():
        times, share = (
            statistics.median(ours / other for ours, other in zip(of_runs, rates[peer], strict=True))
            for peer in ("recipe", "bound")
        )
        print(f"{name:<14}{statistics.median(of_runs):7.1f}/s  {times:5.2f} x recipe  {share:5.2f} of the bound")


def _ours(data: Path, engine: str) -> float:
    engine, _, precision = engine.partition(":")
    with tempfile.TemporaryDirectory() as folder:
        command = ["extract", str(data), "--weights", "random", "--artifacts", folder, "--engine", engine]
        command += ["--precision", precision or "auto"]
        subprocess.run([sys.executable, str(ROOT / "cli.py"), *command], check=True, stdout=subprocess.DEVNULL)
        return float(json.loads(Path(folder, "timings.json").read_text())["extract"]["rate"])


def _said(command: list[str]) -> dict[str, float]:
    done = subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
