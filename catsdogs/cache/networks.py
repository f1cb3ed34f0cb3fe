"""Keep the quantized network beside the features that it computed."""

from pathlib import Path

from ..backbone import Quantized
from ..errors import CatsDogsError
from ..storage import read_if_there, write_atomic
from .manifest import network_files

_MEND = "Restore both from a copy, or run catsdogs extract with the same images and --precision int8: it makes it anew"


def write_network(folder: Path, network: Quantized) -> None:
    """Write a network where `folder` lacks it.

    Its name holds its SHA-256, so that it takes no other's place, and is nobody's until a manifest speaks of it.
    """
    graph, weights = (folder / name for name in network_files(network.sha256))
    for path, content in ((weights, network.weights), (graph, network.graph)):
        if read_if_there(path) != content:
            write_atomic(path, content)


def read_network(folder: Path, sha256: str) -> Quantized:
    """Read the network with that SHA-256.

    Raises
    ------
    CatsDogsError
        It is missing, or damaged.
    """
    graph, weights = (folder / name for name in network_files(sha256))
    try:
        network = Quantized(graph.read_bytes(), weights.read_bytes())
    except OSError as error:
        raise CatsDogsError(f"{error.filename} cannot be read ({error.strerror})", _MEND) from error
    if network.sha256 != sha256:
        raise CatsDogsError(f"{graph} or its {weights.suffix} is not the network that it was", _MEND)
    return network
