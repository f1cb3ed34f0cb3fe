"""Time the selection of the transform and C, and compare it with a peer that selects C only.

    python benchmarks/import_features.py ../shared/features OUT 224
    python benchmarks/choice_of_c.py OUT
    python benchmarks/choice_of_c.py OUT --peer ../shared/bench/peers.py --runs 5

Input: an artifacts folder with imported features. Without --peer, prints the seconds of one selection, without loading,
and its log loss, transform and C as a line of JSON. With --peer, runs the peer, the selection and `catsdogs train`
alternately, each in a separate process. For `train`, the time is that of the process. Prints the lines of JSON; then,
for each program, the median, minimum and maximum time, the ratio to the peer's median and the peak memory; and the load
of the machine before and after.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from whole_job import ROOT

from catsdogs.artifacts import Artifacts
from catsdogs.cache import group_images, group_keys, load_duplicates
from catsdogs.head import TrainingSet, cross_validate
from catsdogs.head.folds import draw_folds, draw_order
from catsdogs.head.metrics import log_loss


def main() -> None:
    """Time one selection, or several beside the peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", type=Path, help="an artifacts folder with one view and no unreadable images")
    parser.add_argument(
        "--peer", type=Path, help="a script whose command `head` prints its time as JSON with the key seconds"
    )
    parser.add_argument("--runs", type=int, default=5, help="number of rounds")
    given = parser.parse_args()
    if given.peer:
        _alternate(given.artifacts, given.peer, given.runs)
    else:
        print(json.dumps(_select(given.artifacts)))


def _select(artifacts: Path) -> dict[str, object]:
    cache = Artifacts(artifacts).cache
    features = cache.load()
    keys = group_keys(features.digests, group_images(cache, features, load_duplicates(cache)))
    training_set = TrainingSet(
        features=features.features,
        labels=features.labels,
        folds=draw_folds(keys, features.labels),
        order=draw_order(features.digests),
        train_mask=features.readable,
    )
    start = time.perf_counter()
    found = cross_validate(training_set)
    seconds = time.perf_counter() - start
    loss = log_loss(training_set.labels, found.logits)
    selected = {"transform": found.transform, "C": found.C}
    return {"rows": len(keys), "seconds": round(seconds, 2), "log_loss": round(loss, 5), **selected}


def _alternate(artifacts: Path, peer: Path, runs: int) -> None:
    commands = {
        "peer": [sys.executable, str(peer), "head"],
        "selection": [sys.executable, __file__, str(artifacts)],
        "train, process": [sys.executable, str(ROOT / "cli.py"), "train", "--artifacts", str(artifacts)],
    }
    load = os.getloadavg()
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    megabytes = dict.fromkeys(commands, 0.0)
    for _ in range(runs):
        for name, command in commands.items():
            start = time.perf_counter()
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                out = process.stdout.read() if process.stdout else ""
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise SystemExit(f"error: {name} exited with {process.returncode}")
            duration = time.perf_counter() - start
            if out.startswith("{"):
                print(out.strip(), flush=True)
                duration = json.loads(out)["seconds"]
            seconds[name].append(duration)
            megabytes[name] = max(
                megabytes[name], usage.ru_maxrss / (1024 * 1024 if sys.platform == "darwin" else 1024)
            )
    print(f"{'median s':>9} {'min s':>7} {'max s':>7} {'x peer':>8} {'peak MB':>8}")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        ratio = median / statistics.median(seconds["peer"])
        print(f"{median:9.2f} {min(taken):7.2f} {max(taken):7.2f} {ratio:8.2f} {megabytes[name]:8.0f}  {name}")
    print(
        f"{os.cpu_count()} cores, load {load[0]:.1f} before, {os.getloadavg()[0]:.1f} after (including this benchmark)"
    )


if __name__ == "__main__":
    main()
