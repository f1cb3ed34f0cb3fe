"""With a kept network, images are predicted without TensorFlow, Keras and other slow imports."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from support.program import ROOT

import catsdogs

SLOW = (
    "tensorflow",
    "keras",
    "scipy",
    "sklearn",
    "joblib",
    "matplotlib",
    "rich.table",
    "absl",
    "PIL.Image",
    "numpy.ma",
)

PROGRAM = f"""
import sys
sys.argv[1:] = sys.argv[1:]
from catsdogs.cli import main
try:
    main()
finally:
    print(*[name for name in {SLOW} if name in sys.modules], file=sys.stderr)
"""


def imports(*arguments):
    """Run a command in a process of its own; return its output, and which of the slow modules it imported."""
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments), "--json"]
    environment = {name: value for name, value in os.environ.items() if name != "CATSDOGS_DEBUG"}
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout), ended.stderr.split()


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
def test_with_a_kept_network_no_command_that_computes_imports_tensorflow(
    tmp_path, keras_backbone, draw, encode, write_folder
):
    data = {f"{kind}/{n}.png": encode(draw(2 * n + (kind == "dog"))) for kind in ("cat", "dog") for n in range(12)}
    write_folder(tmp_path / "data", data)
    how = ["--artifacts", tmp_path / "a"]
    compute = catsdogs.ComputeOptions(engine="openvino")
    catsdogs.run(tmp_path / "data", artifacts=tmp_path / "a", weights=keras_backbone, compute=compute)

    (predicted,), slow = imports("predict", tmp_path / "data/cat/0.png", *how)
    assert slow == []
    assert predicted["label"] in ("cat", "dog")

    scores, slow = imports("evaluate", tmp_path / "data", *how)
    assert not {"tensorflow", "keras"} & {*slow}
    assert scores["images"] == 24

    (tmp_path / "data/cat/99.png").write_bytes(encode(draw(99)))
    done, slow = imports("extract", tmp_path / "data", *how)
    assert not {"tensorflow", "keras"} & {*slow}
    assert (done["computed"], done["engine"]) == (1, "openvino")
