from .duplicates import Duplicates, group_images, load_duplicates, read_duplicates
from .groups import group_keys
from .importing import import_features
from .manifest import UNKNOWN, Manifest, Provenance, pixel_differences, read_network
from .reading import Cache, DamagedError, Features, features_folder, load_features
from .rows import KnownRows, digest
from .shards import read_provenances, waiting_note
from .writing import CacheWriter

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
    "digest",
    "features_folder",
    "group_images",
    "group_keys",
    "import_features",
    "load_duplicates",
    "load_features",
    "pixel_differences",
    "read_duplicates",
    "read_network",
    "read_provenances",
    "waiting_note",
]
