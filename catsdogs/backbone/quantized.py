"""Quantize a network to int8 with NNCF, and keep it as the two files of OpenVINO's format.

From the activations on some images NNCF fixes a scale for each (post-training quantization: Jacob et al. 2018,
arXiv:1712.05877). No scale depends on what else is in a batch, so neighbours do not change a row.
"""

import hashlib
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CatsDogsError
from .conversion import to_openvino
from .frameworks import nncf, openvino
from .precisions import INT8


@dataclass(frozen=True)
class Quantized:
    """A quantized network as it lies on the disk.

    Parameters
    ----------
    graph, weights : bytes
        OpenVINO's ``.xml`` and ``.bin``.
    """

    graph: bytes
    weights: bytes

    @property
    def sha256(self) -> str:
        """Identity: SHA-256 of both, one after the other."""
        return hashlib.sha256(self.graph + self.weights).hexdigest()


@dataclass(frozen=True)
class Int8Similarity:
    """How near the features of a quantized network were to those in float32, on a sample of images.

    Parameters
    ----------
    images : int
        How many were compared.
    least, mean : float
        Of the cosines of an image's features to those in float32.
    """

    images: int
    least: float
    mean: float


def check_installed() -> None:
    """Check that what quantizes is installed.

    Raises
    ------
    CatsDogsError
        OpenVINO or NNCF is not installed.
    """
    missing = [name for name in ("openvino", "nncf") if find_spec(name) is None]
    if missing:
        raise CatsDogsError(
            f"--precision {INT8} needs {' and '.join(missing)}, and that is not installed",
            f"pip install 'catsdogs[{INT8}]', or give another --precision",
        )


def quantize(model: Any, pictures: NDArray[np.uint8]) -> Quantized:
    """Quantize a network.

    Parameters
    ----------
    model : keras.Model
        Takes BGR with the means off, gives (n, 2048).
    pictures : ndarray of shape (n, size, size, 3), uint8
        RGB; representative of those that it will compute.

    Returns
    -------
    network : Quantized
        Takes any number of images, of any size that the model takes.
    """
    # One by one, as NNCF keeps the activations of all layers: eight images take 2.2 GiB in ResNet50, one 1.4.
    singles = np.split(pictures, len(pictures))
    network = to_openvino(model, (None, *model.inputs[0].shape[1:]))
    with tempfile.TemporaryDirectory() as folder:
        quantized = nncf().quantize(
            network,
            nncf().Dataset(singles),
            subset_size=len(singles),
            preset=nncf().QuantizationPreset.MIXED,
            fast_bias_correction=False,
        )
        # OpenVINO and Keras count names up in a process; the same network is to be the same bytes.
        quantized.output(0).get_tensor().set_names({"features"})
        for number, layer in enumerate(quantized.get_ordered_ops()):
            layer.set_friendly_name(f"{layer.get_type_name()}_{number}")
        graph, weights = Path(folder, "network.xml"), Path(folder, "network.bin")
        openvino().serialize(quantized, graph, weights)
        return Quantized(graph.read_bytes(), weights.read_bytes())
