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
    libraries = _cuda_libraries() if framework == "tensorflow" else []
    if framework == "tensorflow" and not libraries:
        return f"{name} is built without CUDA", install
    try:
        if code := ctypes.CDLL("libcuda.so.1").cuInit(0):
            return f"its driver does not start (CUDA error {code})", "See what nvidia-smi says"
    except OSError as error:
        return f"its driver does not load ({error})", "Install NVIDIA's driver"
    try:
        for library in libraries:
            ctypes.CDLL(library)
    except OSError as error:
        return f"{name} needs a library that does not load ({error})", install
    log = "TF_CPP_MIN_LOG_LEVEL=0 and CATSDOGS_DEBUG=1 let it say why"
    return f"{name} does not see it", log if framework == "tensorflow" else "Install it with CUDA"


def _cuda_libraries() -> list[str]:
    """Return the libraries that TensorFlow loads (tsl/platform/default/dlopen_checker.cc); none if built without CUDA.

    Those are left out whose numbers TensorFlow does not tell; they are installed together with these.
    """
    import tensorflow as tf

    build = tf.sysconfig.get_build_info()
    if not build["is_cuda_build"]:
        return []
    cuda, cudnn = (str(build[f"{of}_version"]).partition(".")[0] for of in ("cuda", "cudnn"))
    names = [f"libcudart.so.{cuda}", f"libcublas.so.{cuda}", f"libcublasLt.so.{cuda}", f"libcudnn.so.{cudnn}"]
    packages = Path(tf.__file__).parents[1]  # where TensorFlow looks first
    return [str(next(packages.glob(f"nvidia/*/lib/{name}"), name)) for name in names]
