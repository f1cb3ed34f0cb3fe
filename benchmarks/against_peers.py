"""Compare the speed of `extract` with Keras' recipe and with the compute bound.

    python benchmarks/against_peers.py ../shared/data/kaggle/train ../shared/bench/peers.py --runs 5

Input: a folder of images, and a script that measures Keras' recipe and the bound. The programs run alternately, each in
a separate process, so that changes in the speed of the machine affect all of them: only ratios within a round count.
The recipe has two rates: the one that it reports, and the one up to its last batch, because `predict` may return many
seconds later (while tf.data's autotuning sleeps). The rate of `extract` is `rate` in timings.json: files to cache, from
the first stored batch to the last, with random weights in the original ResNet50.

Prints the rates in images per second and the load of each round; then, for each program, the median rate and the median
ratios to the recipe and to the bound.
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

started, ended = [], []
clock = keras.callbacks.LambdaCallback(
    on_predict_begin=lambda logs: started.append(time.perf_counter()),
    on_predict_batch_end=lambda batch, logs: ended.append(time.perf_counter()),
)
predict = keras.Model.predict
keras.Model.predict = lambda *args, **named: predict(*args, **named, callbacks=[clock])
result = runpy.run_path(sys.argv[1])["recipe"](sys.argv[2])
print(json.dumps(result | {"last": ended[-1] - started[-1]}))
"""
"""Runs the unchanged recipe of the peers' script, and takes the time after each of its batches."""


def main() -> None:
    """Run the programs alternately, and print rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder of images")
    parser.add_argument("peers", type=Path, help="the script that measures the recipe and the bound")
    parser.add_argument("--runs", type=int, default=5, help="number of rounds")
    parser.add_argument(
        "--engines",
        default="tensorflow,openvino",
        help="separated by commas; ENGINE:PRECISION, such as openvino:int8, is also possible",
    )
    given = parser.parse_args()

    rates = defaultdict(list)
    for _ in range(given.runs):
        for peer, rate in {**_recipe(given), "bound": _result_of([str(given.peers), "bound"])["rate"]}.items():
            rates[peer].append(rate)
        for engine in given.engines.split(","):
            rates[engine].append(_ours(given.data, engine))
        print({name: of_runs[-1] for name, of_runs in rates.items()}, "load", os.getloadavg()[0], flush=True)
    for name, of_runs in rates.items():
        times, batches, fraction = (
            statistics.median(ours / other for ours, other in zip(of_runs, rates[peer], strict=True))
            for peer in ("recipe", LAST, "bound")
        )
        print(
            f"{name:<22}{statistics.median(of_runs):6.1f} images/s {times:6.2f} x recipe {batches:6.2f} x {LAST}"
            f" {fraction:6.2f} x bound"
        )


def _recipe(given: argparse.Namespace) -> dict[str, float]:
    result = _result_of(["-c", TIMED, str(given.peers), str(given.data)])
    return {"recipe": result["rate"], LAST: round(result["images"] / result["last"], 2)}


def _ours(data: Path, engine: str) -> float:
    engine, _, precision = engine.partition(":")
    with tempfile.TemporaryDirectory() as folder:
        command = ["extract", str(data), "--weights", "random", "--artifacts", folder, "--engine", engine]
        command += ["--precision", precision or "auto"]
        subprocess.run([sys.executable, str(ROOT / "cli.py"), *command], check=True, stdout=subprocess.DEVNULL)
        return float(json.loads(Path(folder, "timings.json").read_text())["extract"]["rate"])


def _result_of(command: list[str]) -> dict[str, float]:
    done = subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
