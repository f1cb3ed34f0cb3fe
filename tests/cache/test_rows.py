import hashlib
import json

import numpy as np
from support.cache import PROVENANCE, VIEWS


def test_a_row_s_checksum_covers_origin_view_id_digest_and_features(cache):
    train = cache / "features" / "train"
    for view in VIEWS:
        covered = json.dumps([PROVENANCE.sha256, PROVENANCE.pixels, PROVENANCE.precision, view]).encode() + b"cat.10\0"
        covered += np.load(train / "digests.npy")[2].tobytes() + np.load(train / f"{view}.npy")[2].tobytes()
        expected = int.from_bytes(hashlib.blake2b(covered, digest_size=8).digest(), "little")
        assert np.load(train / f"{view}.sums.npy")[2] == expected
