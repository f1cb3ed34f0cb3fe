"""A machine's devices compute together, and give the rows of one."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from catsdogs.backbone import tensorflow
from catsdogs.backbone.devices import Devices

EXTRACT = """
import importlib, os, sys
import catsdogs
from catsdogs.backbone import devices, engines
from catsdogs.inference import processes

name, data, artifacts, weights = sys.argv[1:]
os.environ |= {"KERAS_BACKEND": name, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
framework, module = importlib.import_module(name), importlib.import_module(f"catsdogs.backbone.{name}")
find, make, used = module._devices, devices.Devices.__init__, []
if name == "tensorflow":
    two = 2 * [framework.config.LogicalDeviceConfiguration()]
    framework.config.set_logical_device_configuration(framework.config.list_physical_devices("CPU")[0], two)
elif name == "torch":  # it has one CPU only
    find = lambda first: [first, first]

def noting(number, network):
    def compute(pixels):
        features = network(pixels)
        used.append(f"{number}: {str(features.device).lower()[-5:]}")
        return features
    return compute

def make_noting(self, networks, streams):
    make(self, [noting(*each) for each in enumerate(networks)], streams)

devices.Devices.__init__ = make_noting
processes.PROCESSES, processes.CHUNK_IMAGES, engines._engine_class(name).batch_sizes = 2, 8, {"cpu": 4}
how = catsdogs.ComputeOptions(engine=name, precision="float32")
for number in (1, 2):
    module._devices = lambda *first: find(*first)[:number]
    done = catsdogs.extract(data, artifacts=f"{artifacts}/{number}", weights=weights, compute=how)
    print(done.computed, *sorted({device for device in used if used.count(device) > 3}), sep=", ")
    used.clear()
"""


@pytest.mark.usefixtures("empty_model_cache")
@pytest.mark.parametrize("engine", ["jax", pytest.param("tensorflow", marks=pytest.mark.slow), "torch"])
def test_two_devices_give_the_rows_of_one_and_both_compute(
    engine, keras_backbone, tmp_path, draw, encode, write_folder
):
    if find_spec(engine) is None:
        pytest.skip(f"{engine} is not installed")
    data = write_folder(tmp_path / "data", {f"{number}.png": encode(draw(number)) for number in range(60)})
    command = [sys.executable, "-c", EXTRACT, engine, data, tmp_path, keras_backbone]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    first, second = ("cpu", "cpu") if engine == "torch" else ("cpu:0", "cpu:1")
    assert ended.stdout == f"60, 0: {first}\n60, 0: {first}, 1: {second}\n"
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n / "features").rglob("*") if p.is_file()} for n in "12")
    assert one == two


@pytest.mark.parametrize(
    ("physical", "used"),
    [
        ([("A", 1), ("A", 1), ("T", 1)], ["GPU:0", "GPU:1"]),
        ([("A", 1), ("T", 1), ("A", 1)], ["GPU:0", "GPU:2"]),
        ([("A", 1), ("T", 1)], [None]),
        ([("T", 0), ("A", 1), ("A", 1)], ["GPU:0", "GPU:1"]),  # hidden
        ([("A", 0), ("T", 0)], [None]),
        ([("T", 1), ("A", 2), ("T", 2)], ["GPU:0", "GPU:3", "GPU:4"]),  # divided by the user
    ],
)
def test_tensorflow_uses_the_visible_gpus_of_the_first_ones_kind(physical, used, monkeypatch):
    """By their kinds, and how many logical devices each one is."""
    gpus = [SimpleNamespace(kind=kind, logical=logical) for kind, logical in physical]
    visible = [gpu for gpu in gpus if gpu.logical]
    logical = [SimpleNamespace(name=f"GPU:{number}") for number in range(sum(gpu.logical for gpu in gpus))]
    cpu = SimpleNamespace(kind=None, logical=1)
    config = SimpleNamespace(
        list_physical_devices=lambda kind: gpus if kind == "GPU" else [cpu],
        get_visible_devices=lambda kind: visible if kind == "GPU" else [cpu],
        get_logical_device_configuration=lambda gpu: gpu.logical * ["part"] if gpu.logical > 1 else None,
        list_logical_devices=lambda kind: logical if kind == "GPU" else [SimpleNamespace(name="CPU:0")],
        experimental=SimpleNamespace(get_device_details=lambda gpu: {"device_name": gpu.kind} if gpu.kind else {}),
    )
    monkeypatch.setattr(tensorflow, "_tf", lambda: SimpleNamespace(config=config))
    assert tensorflow._devices() == used
    assert tensorflow.TensorFlowEngine.device() == ("gpu" if visible else "cpu")


def test_calls_wait_for_an_idle_device_and_an_error_leaves_it_idle():
    together, calls = threading.Barrier(4), []

    def network(name):
        def compute(pixels):
            calls.append(name)
            together.wait(timeout=60)
            if pixels.any():
                raise MemoryError
            return pixels

        return compute

    devices = Devices([network("a"), network("b")], 2)
    assert devices.streams == 4
    with ThreadPoolExecutor(8) as threads:
        results = [threads.submit(devices, np.full(3, number, np.uint8)) for number in (0, 1, 0, 1, 0, 1, 0, 1)]
    assert [type(result.exception()) for result in results] == 4 * [type(None), MemoryError]
    assert sorted(calls) == [*"aaaabbbb"]
