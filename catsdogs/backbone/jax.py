"""Compute features with JAX, on all devices of one kind.

JAX's cache of compiled programs has no checksums, and its folder is a setting of the whole process. So it is set only
while a network is compiled, to a temporary folder whose files are then kept with the network.
"""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from .devices import Devices
from .folding import fold
from .frameworks import jax
from .network import preprocess, to_numpy
from .precisions import FLOAT32

_STREAMS = 2
"""Concurrent calls on each device: one computes while the other copies."""

_NETWORK, _WEIGHTS, _PROGRAM = "network", "weights", "-cache"
"""Names in what is kept: the traced function; its weights, one after the other; and the end of JAX's own files."""

_SETTINGS = {"jax_persistent_cache_min_compile_time_secs": 0.0, "jax_persistent_cache_enable_xla_caches": "none"}
"""Programs that are compiled in no time are kept, too; and not what XLA's own caches hold, whose folder would be a part
of the program's key. A program has the results of autotuning in it."""

_settings = threading.Lock()
"""Held while the settings of JAX's cache are ours."""


class JaxEngine(Devices):
    """One compiled function, on each device of the first one's kind.

    Parameters
    ----------
    model : keras.Model or ndarray of uint8
        The bytes that `to_bytes` returned; or a network that takes BGR with the channel means subtracted, and returns
        (n, 2048).
    shape : tuple of int
        (batch, size, size, 3).
    precision : str

    Raises
    ------
    RuntimeError
        What `to_bytes` returned has to be compiled again.
    """

    name, can_be_kept = "jax", True
    batch_sizes = {"cpu": 32, "gpu": 128, "tpu": 128}  # noqa: RUF012

    def __init__(self, model: Any, shape: tuple[int, ...], precision: str) -> None:
        if isinstance(model, np.ndarray):
            with np.load(io.BytesIO(model.data), allow_pickle=False) as content:
                self._kept = {name: content[name].tobytes() for name in content.files}
        else:
            self._kept = _trace(fold(model, precision), shape)
        network, start = jax().export.deserialize(bytearray(self._kept[_NETWORK])), 0
        weights = []
        for aval in network.in_avals[:-1]:
            weights.append(np.frombuffer(self._kept[_WEIGHTS], aval.dtype, aval.size, start).reshape(aval.shape))
            start += weights[-1].nbytes
        known = set(self._kept)
        with _cache_of_programs(self._kept):
            compiled = [partial(_compile(network, device), jax().device_put(weights, device)) for device in _devices()]
        if isinstance(model, np.ndarray) and set(self._kept) > known:
            raise RuntimeError("JAX did not find the compiled program")
        super().__init__(compiled, _STREAMS)

    def is_out_of_memory(self, error: Exception) -> bool:  # noqa: D102 - as in the base class
        from jax.errors import JaxRuntimeError

        return isinstance(error, JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)

    @staticmethod
    def device() -> str:
        """Return "cpu", "gpu" or "tpu"."""
        return str(jax().default_backend())

    @staticmethod
    def native_precision() -> str:
        """Return the fastest precision that the device supports natively; XLA emulates bfloat16 on CPUs."""
        return FLOAT32 if JaxEngine.device() == "cpu" else "bfloat16"

    @staticmethod
    def identity() -> str:
        """Return the kind of the devices, their number, and the build of their compiler."""
        first, *others = _devices()
        return f"{len(others) + 1} {first.device_kind}, {first.client.platform_version}"

    def to_bytes(self) -> bytes:
        """Return the traced function, its weights and the compiled programs, as an archive of NumPy's."""
        content = io.BytesIO()
        arrays: dict[str, Any] = {name: np.frombuffer(part, np.uint8) for name, part in self._kept.items()}
        np.savez(content, **arrays)
        return content.getvalue()


def _trace(model: Any, shape: tuple[int, ...]) -> dict[str, bytes]:
    """Return the function that computes features, and its weights."""
    variables = [model.trainable_variables, model.non_trainable_variables]
    count, weights = len(variables[0]), [to_numpy(variable) for part in variables for variable in part]

    # The weights are arguments, because the compiler would try to optimise constants.
    def features(weights: list[Any], rgb: Any) -> Any:
        inputs = preprocess(rgb.astype(FLOAT32))
        outputs, _ = model.stateless_call(weights[:count], weights[count:], inputs, training=False)
        return outputs.astype(FLOAT32)

    shapes = [jax().ShapeDtypeStruct(array.shape, array.dtype) for array in weights]
    traced = jax().export.export(jax().jit(features))(shapes, jax().ShapeDtypeStruct(shape, np.uint8))
    return {_NETWORK: bytes(traced.serialize()), _WEIGHTS: b"".join(array.tobytes() for array in weights)}


def _compile(network: Any, device: Any) -> Any:
    sharding = jax().sharding.SingleDeviceSharding(device)
    *weights, pixels = [jax().ShapeDtypeStruct(aval.shape, aval.dtype, sharding=sharding) for aval in network.in_avals]
    return jax().jit(network.call).lower(weights, pixels).compile()


def _devices() -> list[Any]:
    """Return the devices that compute: those of other kinds might give other bits."""
    found = jax().local_devices()
    return [device for device in found if device.device_kind == found[0].device_kind]


@contextmanager
def _cache_of_programs(kept: dict[str, bytes]) -> Iterator[None]:
    """Have JAX use the compiled programs in `kept`, and add to it those that it compiles."""
    from jax.experimental.compilation_cache.compilation_cache import reset_cache

    with _settings, TemporaryDirectory() as name:
        folder, settings = Path(name), jax().config
        ours = {"jax_compilation_cache_dir": name} | _SETTINGS
        theirs = {setting: getattr(settings, setting) for setting in ours}
        for file in kept:
            if file.endswith(_PROGRAM):
                (folder / file).write_bytes(kept[file])
        try:
            for setting, value in ours.items():
                settings.update(setting, value)
            reset_cache()
            yield
        finally:
            for setting, value in theirs.items():
                settings.update(setting, value)
            reset_cache()
        kept |= {path.name: path.read_bytes() for path in folder.glob(f"*{_PROGRAM}")}
