"""Find out whether the machine can have a GPU; warn if an NVIDIA GPU is not used, and find the reason.

TensorFlow's own message is one of many log lines, and does not name the missing library.
"""

import ctypes
import logging
import os
import sys
from functools import cache
from pathlib import Path

DRIVER, DEVICES = Path("/proc/driver/nvidia/gpus"), Path("/dev")
"""Folder in which NVIDIA's driver lists its GPUs, and folder of the device files nvidia0, nvidia1 and so on."""

_OTHER_GPUS = ("nvhost-gpu", "nvgpu", "dxg", "kfd")
"""Device files of other GPUs that TensorFlow can use: NVIDIA's Jetson, GPUs in Windows' subsystem for Linux, AMD's."""

_NAMES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}

_log = logging.getLogger(__name__)


def may_have_gpu() -> bool:
    """Whether TensorFlow could find a GPU, found out without its import of several seconds.

    False only on Linux without any device file of a GPU: other systems have none.
    """
    return sys.platform != "linux" or _accessible() or any((DEVICES / name).exists() for name in _OTHER_GPUS)


@cache
def warn_of_unused_gpu(framework: str) -> None:
    """Warn, once per process, if the machine has an NVIDIA GPU that `framework` does not find.

    Parameters
    ----------
    framework : {"tensorflow", "jax", "torch"}
        A framework that has found no GPU.
    """
    accessible = _accessible()
    if accessible or any(DRIVER.glob("*")):
        _log.warning("this machine's NVIDIA GPU is not used: %s. %s", *_find_reason(framework, accessible))


def _accessible() -> bool:
    return any(DEVICES.glob("nvidia[0-9]*"))


def _find_reason(framework: str, accessible: bool) -> tuple[str, str]:
    """Return why the GPU is not used, and a hint."""
    name, install = _NAMES[framework], "Install the extra gpu: pip install '.[gpu]' in a clone"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and (not visible.strip() or visible.strip().startswith("-")):
        return f"CUDA_VISIBLE_DEVICES={visible} hides it", "Unset CUDA_VISIBLE_DEVICES"
    if not accessible:
        return f"there is no {DEVICES / 'nvidia0'}", "Start the container with --gpus all, or ask the cluster for a GPU"
    libraries = _cuda_libraries() if framework == "tensorflow" else []
    if framework == "tensorflow" and not libraries:
        return f"{name} is built without CUDA", install
    try:
        if code := ctypes.CDLL("libcuda.so.1").cuInit(0):
            return f"its driver does not start (CUDA error {code})", "Run nvidia-smi for details"
    except OSError as error:
        return f"its driver cannot be loaded ({error})", "Install NVIDIA's driver"
    try:
        for library in libraries:
            ctypes.CDLL(library)
    except OSError as error:
        return f"{name} needs a library that cannot be loaded ({error})", install
    log = "Set TF_CPP_MIN_LOG_LEVEL=0 and CATSDOGS_DEBUG=1 for TensorFlow's log"
    return f"{name} does not find it", log if framework == "tensorflow" else f"Install {name} with CUDA"


def _cuda_libraries() -> list[str]:
    """Return the libraries that TensorFlow loads (tsl/platform/default/dlopen_checker.cc); none if built without CUDA.

    Libraries whose version TensorFlow does not report are omitted; they are installed together with these.
    """
    import tensorflow as tf

    build = tf.sysconfig.get_build_info()
    if not build["is_cuda_build"]:
        return []
    cuda, cudnn = (str(build[f"{of}_version"]).partition(".")[0] for of in ("cuda", "cudnn"))
    names = [f"libcudart.so.{cuda}", f"libcublas.so.{cuda}", f"libcublasLt.so.{cuda}", f"libcudnn.so.{cudnn}"]
    packages = Path(tf.__file__).parents[1]  # where TensorFlow searches first
    return [str(next(packages.glob(f"nvidia/*/lib/{name}"), name)) for name in names]
