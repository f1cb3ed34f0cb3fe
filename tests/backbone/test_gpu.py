"""TensorFlow is asked for its GPU only where there can be one; one warning explains why an NVIDIA GPU is not used."""

import os
import shutil
import subprocess
import sys
from ctypes.util import find_library

import pytest

from catsdogs.backbone import Backbone, choose_engine, choose_weights, gpu
from catsdogs.backbone.tensorflow import TensorFlowEngine


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """Return the folder in which the driver lists GPUs and the folder of devices, both empty."""
    driver, devices = tmp_path / "gpus", tmp_path / "dev"
    for name, folder in (("DRIVER", driver), ("DEVICES", devices)):
        folder.mkdir()
        monkeypatch.setattr(gpu, name, folder)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpu.warn_of_unused_gpu.cache_clear()
    yield driver, devices
    gpu.warn_of_unused_gpu.cache_clear()


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "catsdogs.backbone.gpu"]


def test_without_a_gpu_nothing_is_logged(machine, caplog):
    _, devices = machine
    (devices / "nvidiactl").touch()  # exists without a GPU, too
    gpu.warn_of_unused_gpu("tensorflow")
    assert warnings_of(caplog) == []


@pytest.mark.parametrize("name", ["nvidia0", "nvidia12", "nvhost-gpu", "dxg", "kfd"])
def test_tensorflow_is_asked_for_a_gpu_only_where_there_is_a_device_file(name, machine, monkeypatch):
    _, devices = machine
    asked = []
    monkeypatch.setattr(TensorFlowEngine, "device", staticmethod(lambda: asked.append(name) or "gpu"))
    (devices / "nvidiactl").touch()
    assert choose_engine("auto").name == "openvino"
    assert asked == []
    (devices / name).touch()
    assert choose_engine("auto").name == "tensorflow"
    assert asked == [name]


@pytest.mark.parametrize("value", ["", "-1", " -1,0"])
def test_a_variable_that_hides_the_gpu_is_named(value, machine, caplog, monkeypatch):
    _, devices = machine
    (devices / "nvidia0").touch()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    gpu.warn_of_unused_gpu("tensorflow")
    gpu.warn_of_unused_gpu("tensorflow")
    assert warnings_of(caplog) == [
        f"this machine's NVIDIA GPU is not used: CUDA_VISIBLE_DEVICES={value} hides it. Unset CUDA_VISIBLE_DEVICES"
    ]


def test_a_container_without_access_to_the_gpu_is_warned_about(machine, caplog):
    driver, devices = machine
    (driver / "0000:65:00.0").mkdir()
    gpu.warn_of_unused_gpu("tensorflow")
    (said,) = warnings_of(caplog)
    assert f"there is no {devices}/nvidia0. Start the container with --gpus all" in said


@pytest.mark.parametrize(
    ("source", "finding"),
    [
        (None, "its driver cannot be loaded (libcuda.so.1: cannot open shared object file"),
        (
            "int cuInit(int flags) { return 999; }",
            "its driver does not start (CUDA error 999). Run nvidia-smi for details",
        ),
        ("int cuInit(int flags) { return 0; }", "JAX does not find it. Install JAX with CUDA"),
    ],
)
def test_a_driver_that_does_not_work_is_reported(source, finding, machine, tmp_path):
    said = said_with_driver(source, "jax", machine, tmp_path)
    assert finding in said


@pytest.mark.slow
def test_the_library_that_tensorflow_cannot_load_is_named(machine, tmp_path):
    said = said_with_driver("int cuInit(int flags) { return 0; }", "tensorflow", machine, tmp_path)
    assert "TensorFlow needs a library that cannot be loaded (libcudart.so." in said
    assert said.rstrip().endswith("pip install '.[gpu]' in a clone")


def said_with_driver(source, framework, machine, folder):
    """Return the standard error of a process on a machine whose GPU driver is compiled from `source`."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler to build a driver with")
    if source is None and find_library("cuda"):
        pytest.skip("this machine has a driver")
    driver, devices = machine
    (devices / "nvidia0").touch()
    if source:
        (folder / "cuda.c").write_text(source)
        subprocess.run(["cc", "-shared", "-o", folder / "libcuda.so.1", folder / "cuda.c"], check=True)
    program = (
        "import sys; from pathlib import Path; from catsdogs.backbone import gpu\n"
        "gpu.DRIVER, gpu.DEVICES = map(Path, sys.argv[1:3]); gpu.warn_of_unused_gpu(sys.argv[3])"
    )
    command = [sys.executable, "-c", program, driver, devices, framework]
    environment = os.environ | {"LD_LIBRARY_PATH": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stderr


def test_a_tensorflow_without_cuda_is_reported(machine, caplog, monkeypatch):
    import tensorflow as tf

    _, devices = machine
    (devices / "nvidia0").touch()
    monkeypatch.setattr(tf.sysconfig, "get_build_info", lambda: {"is_cuda_build": False})
    gpu.warn_of_unused_gpu("tensorflow")
    (said,) = warnings_of(caplog)
    assert said.endswith("TensorFlow is built without CUDA. Install the extra gpu: pip install '.[gpu]' in a clone")


@pytest.mark.parametrize(("engine", "count"), [("auto", 1), ("tensorflow", 1), ("openvino", 0)])
def test_loading_warns_unless_the_cpu_was_requested(engine, count, machine, caplog, keras_backbone):
    if TensorFlowEngine.device() == "gpu":
        pytest.skip("TensorFlow has a GPU on this machine")
    _, devices = machine
    (devices / "nvidia0").touch()
    for _ in range(2):
        Backbone(choose_weights(str(keras_backbone)), (64,), engine=engine)
    assert len(warnings_of(caplog)) == count
