"""JAX compiles a network once for all processes."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(find_spec("jax") is None, reason="JAX is not installed")

PROGRAM = """
import hashlib, json, sys
import jax, numpy as np
from catsdogs.backbone import Backbone, choose_weights

jax.config.update("jax_compilation_cache_dir", theirs := sys.argv[2])
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name.rpartition("/")[2]))
backbone = Backbone(choose_weights(sys.argv[1]), (64, 96))
assert (backbone.engine, jax.config.jax_compilation_cache_dir) == ("jax", theirs)
features = [
    backbone.features(np.random.default_rng(0).integers(0, 256, (300, size, size, 3), np.uint8)) for size in (64, 96)
]
found = {name: events.count(f"cache_{name}") for name in ("hits", "misses")}
found |= {"keras": "keras" in sys.modules, "features": hashlib.sha256(np.concatenate(features)).hexdigest()}
print(json.dumps(found))
"""


def run(program, *arguments, flags=""):
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"KERAS_BACKEND": "jax", "XLA_FLAGS": flags, "PYTHONPATH": root}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_second_process_does_not_compile_again(keras_backbone, empty_model_cache, tmp_path):
    theirs = tmp_path / "of the user"
    first, second = (json.loads(run(PROGRAM, keras_backbone, theirs)) for _ in range(2))
    assert first["keras"]
    assert first["misses"] > second["misses"] == 0
    assert second == {"hits": 2, "misses": 0, "keras": False, "features": first["features"]}
    (entry,) = empty_model_cache.iterdir()
    content = bytearray((entry / "96").read_bytes())
    content[len(content) // 2] ^= 1
    (entry / "96").write_bytes(content)
    assert json.loads(run(PROGRAM, keras_backbone, theirs))["features"] == first["features"]
    assert json.loads(run(PROGRAM, keras_backbone, theirs)) == second


@pytest.mark.usefixtures("empty_model_cache")
def test_a_program_that_fits_no_more_is_compiled_again(keras_backbone, tmp_path):
    """XLA's options are a part of the program, but not of what names the entry."""
    run(PROGRAM, keras_backbone, tmp_path, flags="--xla_cpu_enable_fast_math=true")
    assert json.loads(run(PROGRAM, keras_backbone, tmp_path))["misses"] > 2
    assert json.loads(run(PROGRAM, keras_backbone, tmp_path))["misses"] == 0
