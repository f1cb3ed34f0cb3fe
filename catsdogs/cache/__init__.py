"""Store features on disk, by the digest of an image's bytes: names and paths of images do not matter.

A row is the features of one image in one view. Its checksum covers the features, the digest of the image's bytes and
the provenance (backbone, pixels, precision, engine). Rows are written to shards as they are computed, by any number of
processes. The arrays of a split are then assembled from shards and from the existing arrays, with files beside them
that list their images. No file is changed in place: new files are written as ``X.new``, and the manifest that names
them commits them. If a process is killed before it has renamed them, the next one that writes the cache does it.
"""

from .duplicates import Duplicates, group_images, load_duplicates, read_duplicates
from .groups import group_keys
from .importing import import_features
from .manifest import UNKNOWN, Manifest, Provenance, pixel_differences, read_network
from .reading import Cache, DamagedError, Features, features_folder, load_features
from .rows import KnownRows, digest
from .shards import read_provenances, waiting_note
from .writing import CacheWriter
