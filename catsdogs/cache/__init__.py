"""Store features on disk, by the digest of an image's bytes: names and paths of images do not matter.

A row is the features of one image in one view. Its checksum covers the features, the digest of the image's bytes and
the provenance (backbone, pixels, precision, engine). Rows are written to shards as they are computed, by any number of
processes. The arrays of a split are then assembled from shards and from the existing arrays, with files beside them
that list their images. No file is changed in place: new files are written as ``X.new``, and the manifest that names
them commits them. If a process is killed before it has renamed them, the next one that writes the cache does it.

``__init__.pyi`` lists its names, each of which is imported at its first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
