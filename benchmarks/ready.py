"""Time a prediction of one image as a process, beside a script that gives the exported network to onnxruntime.

Before: catsdogs run DATA --artifacts DIR; catsdogs export onnx --artifacts DIR (which needs the extra onnx).
Usage: python benchmarks/ready.py IMAGE DIR [--times 10]

Both run in turn, with their bytecode cached, as an installation has it. Then the stages of one prediction, in a process
of its own for each of the times.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

SCRIPT = """
import sys
import numpy as np
import onnxruntime
from PIL import Image
session = onnxruntime.InferenceSession(sys.argv[1])
name, size = session.get_inputs()[0].name, 224
with Image.open(sys.argv[2]) as image:
    pixels = np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
print(session.run(None, {name: pixels[np.newaxis]})[0])
"""

STAGES = """
import json, sys, time
began, stages = time.perf_counter(), {}
def stage(name):
    global began
    stages[name], began = time.perf_counter() - began, time.perf_counter()
image, artifacts = sys.argv[1:]
import catsdogs.cli.app
stage("import the command line")
import numpy as np
stage("import NumPy")
from catsdogs import head
from catsdogs.artifacts import Artifacts
from catsdogs.backbone import Backbone, choose_weights
from catsdogs.backbone.frameworks import openvino
from catsdogs.images import identity
from catsdogs.images.decoding import decode
import catsdogs.commands.predict
stage("import the library")
opened = Artifacts(artifacts)
trained = head.load(opened)
identity.pixels()
stage("read the head, identify the pixels")
openvino()
stage("import OpenVINO")
backbone = Backbone(choose_weights(None, opened.source), (224,), precision=trained.metadata.provenance.precision)
stage("load the network")
pixels = decode(open(image, "rb").read())
stage("decode the image")
features = backbone.features(pixels[np.newaxis])
trained.classifier.probabilities(features)
stage("compute")
print(json.dumps(stages))
"""


def timed(*command: str) -> tuple[float, float, str]:
    """Return the seconds of a process, its seconds of processor time, and what it printed."""
    start, before = time.perf_counter(), os.times()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    after = os.times()
    processor = sum(after[2:4]) - sum(before[2:4])
    return time.perf_counter() - start, processor, ended.stdout


def main() -> None:
    """Print medians and ranges of both, and the medians of the stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("artifacts", type=Path)
    parser.add_argument("--times", type=int, default=10)
    given = parser.parse_args()
    python, artifacts = sys.executable, str(given.artifacts)
    commands = {
        "catsdogs predict --json": [
            python,
            "-m",
            "catsdogs",
            "predict",
            given.image,
            "--json",
            "--artifacts",
            artifacts,
        ],
        "onnxruntime": [python, "-c", SCRIPT, str(given.artifacts / "catsdogs.onnx"), given.image],
    }
    timed(*commands["catsdogs predict --json"])  # which keeps the network
    runs: dict[str, list[tuple[float, float, str]]] = {name: [] for name in commands}
    stages = []
    for _ in range(given.times):
        for name, command in commands.items():
            runs[name].append(timed(*command))
        stages.append(json.loads(timed(python, "-c", STAGES, given.image, artifacts)[2]))
    for name, found in runs.items():
        walls, processor = [run[0] for run in found], [run[1] for run in found]
        spread = f"{min(walls):.2f} to {max(walls):.2f}"
        print(
            f"{name:<26}{median(walls):>6.2f} s ({spread}), processor {median(processor):.2f} s ({min(processor):.2f})"
        )
    walls, processor = ([median(run[place] for run in runs[name]) for name in commands] for place in (0, 1))
    print(f"{'ratio':<26}{walls[0] / walls[1]:>6.2f}, processor {processor[0] / processor[1]:.2f}")
    for name in stages[0]:
        print(f"  {name:<38}{median(found[name] for found in stages):>6.3f} s")


if __name__ == "__main__":
    main()
