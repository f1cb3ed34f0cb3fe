import hashlib
import json
import time

import numpy as np
import pytest
from support.cache import PROVENANCE, VIEWS

from catsdogs.cache import rows
from catsdogs.images.facts import FACTS


@pytest.mark.parametrize("column", [*VIEWS, "facts"])
@pytest.mark.parametrize(("row", "reason"), [(2, b""), (1, b"broken")])
def test_a_checksum_covers_provenance_digest_reason_and_content(cache, column, row, reason):
    train = cache / "features" / "train"
    made_by = [PROVENANCE.sha256, PROVENANCE.pixels, PROVENANCE.precision, PROVENANCE.engine, PROVENANCE.network]
    covered = json.dumps([*made_by, column]).encode() + np.load(train / "digests.npy")[row].tobytes() + reason + b"\0"
    covered += np.load(train / f"{column}.npy")[row].tobytes()
    expected = int.from_bytes(hashlib.blake2b(covered, digest_size=8).digest(), "little")
    assert np.load(train / f"{column}.sums.npy")[row] == expected


@pytest.mark.slow
def test_checking_25_000_rows_takes_half_a_second():
    n = 25_000
    features = np.zeros((n, 2048), np.float32)
    features[:, 0] = np.arange(n)
    digests, reasons, facts = np.zeros((n, 16), np.uint8), n * [""], np.zeros(n, FACTS)
    sums = np.fromiter(rows.row_sums(PROVENANCE, "224", digests, reasons, features), np.uint64, n)
    table = rows.Rows(np.array(n * ["cat.1"]), np.zeros(n, np.int8), digests, reasons, facts, {"224": sums})
    taken = []
    for _ in range(5):
        start = time.thread_time()
        assert table.check(PROVENANCE, "224", slice(0, n), features).all()
        taken.append(time.thread_time() - start)
    assert min(taken) < 0.5  # processor time, so that a busy machine fails no test
