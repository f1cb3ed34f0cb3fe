"""Images and the peers' script come in; out goes how fast extraction is beside Keras' recipe and the compute bound.

    python benchmarks/against_peers.py ../shared/data/kaggle/train ../shared/bench/peers.py --runs 5

Each in a process of its own and in turn (A B C D, A B C D), so that a machine whose speed drifts is fair to all: only
ratios taken together count. The recipe is timed twice in one run: as it says itself, and up to its last batch, as
`predict` may come back many seconds after that (as long as tf.data's autotuning sleeps). Ours is `rate` in
timings.json, from the first stored batch to the last, files to cache, random weights in the true ResNet50. Prints every
figure, the medians, and the medians of the ratios of each round.
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

LAST = "recipe to last batch"

TIMED = """
import json, runpy, sys, time
import keras

begun, ended = [], []
clock = keras.callbacks.LambdaCallback(
    on_predict_begin=lambda logs: begun.append(time.perf_counter()),
    on_predict_batch_end=lambda batch, logs: ended.append(time.perf_counter()),
)
predict = keras.Model.predict
keras.Model.predict = lambda *args, **named: predict(*args, **named, callbacks=[clock])
said = runpy.run_path(sys.argv[1])["recipe"](sys.argv[2])
print(json.dumps(said | {"last": ended[-1] - begun[-1]}))
"""
"""Runs the peers' recipe as it stands, and looks at the clock after each of its batches."""


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
        for peer, rate in {**_recipe(given), "bound": _said([str(given.peers), "bound"])["rate"]}.items():
            rates[peer].append(rate)
        for engine in given.engines.split(","):
            rates[engine].append(_ours(given.data, engine))
        print({name: of_runs[-1] for name, of_runs in rates.items()}, "load", os.getloadavg()[0], flush=True)
    for name, of_runs in rates.items():
        times, batches, share = (
            statistics.median(ours / other for ours, other in zip(of_runs, rates[peer], strict=True))
            for peer in ("recipe", LAST, "bound")
        )
        print(
            f"{name:<22}{statistics.median(of_runs):6.1f}/s {times:6.2f} x recipe {batches:6.2f} x {LAST}"
            f" {share:6.2f} of the bound"
        )


def _recipe(given: argparse.Namespace) -> dict[str, float]:
    said = _said(["-c", TIMED, str(given.peers), str(given.data)])
    return {"recipe": said["rate"], LAST: round(said["images"] / said["last"], 2)}


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
