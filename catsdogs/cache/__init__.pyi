from .duplicates import Duplicates, group_images, load_duplicates, read_duplicates
from .groups import group_keys
from .importing import import_features
from .manifest import UNKNOWN, Manifest, Provenance, describe, pixel_differences, read_network
from .nearest import NEIGHBOURS, find_farthest, find_nearest
from .parts import Part, Parts, PartTable, parse_part, read_parts, write_part
from .reading import Cache, DamagedError, Features, features_folder, load_features
from .remote import RemoteParts, name_uris
from .rows import KnownRows, digest
from .shards import ShardWriter, find_parts, no_features, read_provenances
from .writing import CacheWriter

__all__ = [
    "NEIGHBOURS",
    "UNKNOWN",
    "Cache",
    "CacheWriter",
    "DamagedError",
    "Duplicates",
    "Features",
    "KnownRows",
    "Manifest",
    "Part",
    "PartTable",
    "Parts",
    "Provenance",
    "RemoteParts",
    "ShardWriter",
    "describe",
    "digest",
    "features_folder",
    "find_farthest",
    "find_nearest",
    "find_parts",
    "group_images",
    "group_keys",
    "import_features",
    "load_duplicates",
    "load_features",
    "name_uris",
    "no_features",
    "parse_part",
    "pixel_differences",
    "read_duplicates",
    "read_network",
    "read_parts",
    "read_provenances",
    "write_part",
]
