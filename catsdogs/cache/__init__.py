"""Keep features on disk: rows go in as they are computed, and come out checked.

A folder holds `manifest.json` and one folder a split. A row belongs to (id, bytes of the image, backbone, pixels,
precision) and carries a checksum over all five, its view and its own bytes: what has not all of them is never
reused. The manifest is the commit mark. While a split is being filled its entry says so, and each row vouches for
itself. When files must change together they are written as ``X.new``, the manifest that names them is the commit,
and who writes the cache next finishes the renames.
"""

from .duplicates import Duplicates, group_images, load_duplicates, read_duplicates
from .groups import group_keys
from .importing import import_features
from .manifest import UNKNOWN, Manifest, Provenance, differences
from .manifest import read as read_manifest
from .networks import read_network, write_network
from .npy import describe as describe_array
from .reading import Cache, DamagedError, Features, features_folder, load_features
from .rows import digest
from .writing import CacheWriter, KnownRows

__all__ = [
    "UNKNOWN",
    "Cache",
    "CacheWriter",
    "DamagedError",
    "Duplicates",
    "Features",
    "KnownRows",
    "Manifest",
    "Provenance",
    "describe_array",
    "differences",
    "digest",
    "features_folder",
    "group_images",
    "group_keys",
    "import_features",
    "load_duplicates",
    "load_features",
    "read_duplicates",
    "read_manifest",
    "read_network",
    "write_network",
]
