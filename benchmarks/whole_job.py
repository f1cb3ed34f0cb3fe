"""Time each command as a user runs it, from the start of the process to its end.

    python benchmarks/whole_job.py DATA --weights FILE.keras --runs 5
    python benchmarks/whole_job.py DATA --weights random --beside "python ../shared/bench/peers.py recipe DATA/train"

Input: a folder or zip of images, and weights. The commands run alternately, each in a separate process: `run` with an
empty artifacts folder, `run` again without changes, `train`, `submit`, `--help` and the command in --beside. Changes in
the speed of the machine thus affect all of them. Prints the median, minimum and maximum wall time and the peak memory.
"""

import argparse
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Time the commands alternately, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder or a zip of images")
    parser.add_argument("--weights", required=True, help="as for catsdogs run")
    parser.add_argument("--runs", type=int, default=5, help="number of rounds")
    parser.add_argument("--beside", help="another command to run in each round; its output is shown")
    given = parser.parse_args()

    seconds, megabytes = defaultdict(list), defaultdict(list)
    for _ in range(given.runs):
        with tempfile.TemporaryDirectory() as folder:
            run = ["run", str(given.data), "--weights", given.weights, "--artifacts", folder]
            commands = {
                "run": run,
                "run again": run,
                "train": ["train", "--artifacts", folder],
                "submit": ["submit", "--artifacts", folder],
                "--help": ["--help"],
            }
            for name, arguments in commands.items():
                _time(name, [sys.executable, str(ROOT / "cli.py"), *arguments], seconds, megabytes, quiet=True)
        if given.beside:
            _time(given.beside, shlex.split(given.beside), seconds, megabytes, quiet=False)

    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{'median s':>9} {'min s':>7} {'max s':>7} {'peak MB':>8}")
    for name, taken in seconds.items():
        figures = f"{statistics.median(taken):9.2f} {min(taken):7.2f} {max(taken):7.2f} {max(megabytes[name]):8.0f}"
        print(f"{figures}  {name}")


def _time(
    name: str,
    command: list[str],
    seconds: dict[str, list[float]],
    megabytes: dict[str, list[float]],
    *,
    quiet: bool,
) -> None:
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL if quiet else None)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"error: {shlex.join(command)} exited with {process.returncode}")
    seconds[name].append(time.perf_counter() - start)
    megabytes[name].append(usage.ru_maxrss / (1 if sys.platform != "darwin" else 1024) / 1024)


if __name__ == "__main__":
    main()
