"""Write backbone and head as a .keras file, and run such a file."""

import json
import tempfile
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbone.frameworks import keras
from ..storage import to_json

_METADATA = "metadata.json"
"""Member of a .keras file with the Keras version and the date; Keras ignores other keys in it."""

_BATCH = 8
"""Batch size, small because the activations take memory."""


def to_file(model: Any, metadata: Mapping[str, Any]) -> bytes:
    """Return the content of a .keras file, with the metadata under "catsdogs" in its metadata.json."""
    content = BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        model.save(path)
        with zipfile.ZipFile(path) as saved, zipfile.ZipFile(content, "w") as archive:
            for name in saved.namelist():
                member = saved.read(name)
                if name == _METADATA:
                    member = to_json(json.loads(member) | {"catsdogs": metadata})
                archive.writestr(name, member)
    return content.getvalue()


def compute(content: bytes, images: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Load a .keras file in safe mode and return its probabilities, of shape (n,).

    Parameters
    ----------
    content : bytes
    images : dict of str to ndarray of shape (n, size, size, 3), uint8
        RGB images by name of the input.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        path.write_bytes(content)
        model = keras().saving.load_model(path, compile=False, safe_mode=True)
    given = [images[tensor.name].astype(np.float32) for tensor in model.inputs]
    probabilities = model.predict(given if len(given) > 1 else given[0], batch_size=_BATCH, verbose=0)
    return np.asarray(probabilities)[:, 0]
