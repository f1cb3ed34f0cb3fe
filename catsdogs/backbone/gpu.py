"""Find out why an NVIDIA GPU is not used, and warn of it.

What TensorFlow itself says stands among lines that concern nobody, and does not name the library that is missing.
"""

import ctypes
import logging
import os
from functools import cache
from pathlib import Path

DRIVER, DEVICES = Path("/proc/driver/nvidia/gpus"), Path("/dev")
"""Where NVIDIA's driver lists its GPUs, and where the files nvidia0, nvidia1 and so on give access to them."""

_NAMES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}

_log = logging.getLogger(__name__)


@cache
def warn_of_unused_gpu(framework: str) -> None:
    """Warn, once a process, if there is an NVIDIA GPU that `framework` does not see.

    Parameters
    ----------
    framework : {"tensorflow", "jax", "torch"}
        What has found no GPU.
    """
    accessible = any(DEVICES.glob("nvidia[0-9]*"))
    if accessible or any(DRIVER.glob("*")):
        _log.warning("this machine's NVIDIA GPU is not used: %s. %s", *_find_reason(framework, accessible))


def _find_reason(framework: str, accessible: bool) -> tuple[str, str]:
    """Return why the GPU is not used, and what to do."""
    name, install = _NAMES[framework], "pip install 'catsdogs[gpu]'"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and (not visible.strip() or visible.strip().startswith("-")):
        return f"CUDA_VISIBLE_DEVICES={visible} hides it", "Unset that"
    if not accessible:
        return f"there is no {DEVICES / 'nvidia0'}", "Start the container with --gpus all, or ask the cluster for a GPU"
    if framework == "tensorflow" and not _cuda_versions():
        return f"{name} is built without CUDA", install
    try:
        if code := ctypes.CDLL("libcuda.so.1").cuInit(0):
            return f"its driver does not start (CUDA error {code})", "See what nvidia-smi says"
    except OSError as error:
        return f"its driver does not load ({error})", "Install NVIDIA's driver"
    if framework == "tensorflow" and (failure := _load_cuda()):
        return f"{name} needs a library that does not load ({failure})", install
    log = "TF_CPP_MIN_LOG_LEVEL=0 and CATSDOGS_DEBUG=1 let it say why"
    return f"{name} does not see it", log if framework == "tensorflow" else "Install it with CUDA"


def _cuda_versions() -> tuple[str, str] | None:
    """Return the major versions of CUDA and cuDNN that TensorFlow is built with."""
    import tensorflow as tf

    build = tf.sysconfig.get_build_info()
    if not build["is_cuda_build"]:
        return None
    return str(build["cuda_version"]).partition(".")[0], str(build["cudnn_version"]).partition(".")[0]


def _load_cuda() -> OSError | None:
    """Load the libraries that TensorFlow loads (tsl/platform/default/dlopen_checker.cc), and return the first error.

    Those are left out whose numbers TensorFlow does not tell; they are installed together with these.
    """
    import tensorflow as tf

    cuda, cudnn = _cuda_versions() or ("", "")
    for library in (f"libcudart.so.{cuda}", f"libcublas.so.{cuda}", f"libcublasLt.so.{cuda}", f"libcudnn.so.{cudnn}"):
        wheels = Path(tf.__file__).parents[1].glob(f"nvidia/*/lib/{library}")  # TensorFlow looks there first
        try:
            ctypes.CDLL(str(next(wheels, library)))
        except OSError as error:
            return error
    return None
