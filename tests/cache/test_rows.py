import hashlib
import json
import time

import numpy as np
import pytest
from support.cache import PROVENANCE, VIEWS

from catsdogs.cache import Provenance, rows


def test_a_row_s_checksum_covers_origin_view_id_digest_and_features(cache):
    train = cache / "features" / "train"
    for view in VIEWS:
        covered = json.dumps([PROVENANCE.sha256, PROVENANCE.pixels, PROVENANCE.precision, view]).encode() + b"cat.10\0"
        covered += np.load(train / "digests.npy")[2].tobytes() + np.load(train / f"{view}.npy")[2].tobytes()
        expected = int.from_bytes(hashlib.blake2b(covered, digest_size=8).digest(), "little")
        assert np.load(train / f"{view}.sums.npy")[2] == expected


@pytest.mark.slow
def test_checking_25_000_rows_takes_half_a_second():
    n = 25_000
    features = np.zeros((n, 2048), np.float32)
    features[:, 0] = np.arange(n)
    provenance = Provenance("tiny.keras", "ab" * 32, "file:1", "squashed", "float32", "none")
    ids = np.array([f"cat.{row}" for row in range(n)])
    digests = np.zeros((n, 16), np.uint8)
    sums = np.fromiter(rows.sums(provenance, "224", ids.tolist(), digests, features), np.uint64, n)
    stored = rows.Rows(ids, np.zeros(n, np.int8), digests, {"224": features}, {"224": sums}, {}, [])
    taken = []
    for _ in range(5):
        start = time.thread_time()
        assert rows.check(stored, provenance).all()
        taken.append(time.thread_time() - start)
    assert min(taken) < 0.5  # processor time, so that a busy machine fails no test
