"""Keep features on disk: a row belongs to an image's bytes, whatever it is called and wherever it lies.

A row is what one image's bytes give in one view, and carries a checksum over that, the bytes' digest, and what made it
(backbone, pixels, precision, engine). Rows are written to shards as they are computed, by any number of processes; from
shards, and from what is there, the arrays are assembled that people open, with a table beside them that says which
images they are of. Nothing that is there is changed in place: files that change are written as ``X.new``, the manifest
that names them is the commit, and who writes the cache next finishes the renames.
"""

from .duplicates import Duplicates, group_images, load_duplicates, read_duplicates
from .importing import import_features
from .manifest import UNKNOWN, Manifest, Provenance, pixel_differences, read_network
from .neighbours import group_keys
from .reading import Cache, DamagedError, Features, features_folder, load_features
from .rows import KnownRows, digest
from .shards import read_provenances
from .writing import CacheWriter
