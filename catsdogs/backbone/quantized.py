"""Quantize a network to int8 with NNCF, and serialise it to the two files of OpenVINO's format.

NNCF sets a fixed scale for each activation from its values on sample images (post-training quantization: Jacob et al.
2018, arXiv:1712.05877). The scales are constant, so a row does not depend on the other images in its batch.
"""

import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CatsDogsError
from ..storage import sha256_of
from .conversion import to_openvino
from .frameworks import nncf, openvino
from .precisions import INT8


@dataclass(frozen=True)
class Quantized:
    """A serialised quantized network.

    Parameters
    ----------
    graph, weights : bytes
        OpenVINO's ``.xml`` and ``.bin``.
    """

    graph: bytes
    weights: bytes

    @property
    def sha256(self) -> str:
        """Identity: SHA-256 of `graph` followed by `weights`."""
        return sha256_of(self.graph + self.weights)


@dataclass(frozen=True)
class Int8Similarity:
    """Similarity of a quantized network's features to those in float32, on a sample of images.

    Parameters
    ----------
    images : int
        Number of images compared.
    least, mean : float
        Minimum and mean of the cosine similarity of an image's features to those in float32.
    """

    images: int
    least: float
    mean: float


def check_installed() -> None:
    """Check that the packages for quantization are installed.

    Raises
    ------
    CatsDogsError
        OpenVINO or NNCF is not installed.
    """
    missing = [name for name in ("openvino", "nncf") if find_spec(name) is None]
    if missing:
        hint = f"Install the extra {INT8}: pip install '.[{INT8}]' in a clone; or use another --precision"
        raise CatsDogsError(f"packages that --precision {INT8} needs are not installed: {', '.join(missing)}", hint)


def quantize(model: Any, images: NDArray[np.uint8]) -> Quantized:
    """Quantize a network.

    Parameters
    ----------
    model : keras.Model
        Takes BGR with the channel means subtracted, and returns (n, 2048).
    images : ndarray of shape (n, size, size, 3), uint8
        RGB; representative of the images whose features it will compute.

    Returns
    -------
    network : Quantized
        Accepts any batch size, and any image size that the model accepts.
    """
    # Batches of one image, as NNCF keeps all activations of a batch: in ResNet50 2.2 GiB for eight images, 1.4 for one.
    batches = np.split(images, len(images))
    network = to_openvino(model, (None, *model.inputs[0].shape[1:]))
    with tempfile.TemporaryDirectory() as folder:
        quantized = nncf().quantize(
            network,
            nncf().Dataset(batches),
            subset_size=len(batches),
            preset=nncf().QuantizationPreset.MIXED,
            fast_bias_correction=False,
        )
        # OpenVINO and Keras number names within a process, but the same network must give identical bytes.
        quantized.output(0).get_tensor().set_names({"features"})
        for number, layer in enumerate(quantized.get_ordered_ops()):
            layer.set_friendly_name(f"{layer.get_type_name()}_{number}")
        graph, weights = Path(folder, "network.xml"), Path(folder, "network.bin")
        openvino().serialize(quantized, graph, weights)
        return Quantized(graph.read_bytes(), weights.read_bytes())
