import hashlib

import numpy as np
from support.cache import TRAIN, facts_of, features_of


def test_every_file_opens_with_numpy_alone(cache):
    train = cache / "features" / "train"
    found = {path.name: np.load(path, allow_pickle=False) for path in train.glob("*.npy")}
    assert {name: (array.shape, array.dtype.str) for name, array in found.items()} == {
        "ids.npy": ((4,), "<U6"),
        "labels.npy": ((4,), "|i1"),
        "status.npy": ((4,), "|u1"),
        "digests.npy": ((4, 16), "|u1"),
        "224.npy": ((4, 2048), "<f4"),
        "224.sums.npy": ((4,), "<u8"),
        "224m.npy": ((4, 2048), "<f4"),
        "224m.sums.npy": ((4,), "<u8"),
        "facts.npy": ((4,), "|V48"),
        "facts.sums.npy": ((4,), "<u8"),
    }
    assert found["ids.npy"].tolist() == list(TRAIN)
    assert found["labels.npy"].tolist() == [0, 0, 0, 1]
    assert found["status.npy"].tolist() == [1, 2, 1, 1]
    assert found["digests.npy"][0].tobytes() == hashlib.blake2b(b"a", digest_size=16).digest()
    assert found["facts.npy"][3] == facts_of(b"c")
    assert found["facts.npy"].dtype.names == ("width", "height", "bytes", "brightness", "contrast", "sharpness")
    np.testing.assert_array_equal(found["224m.npy"][3], features_of(b"c")[1])
    assert np.isnan(found["224.npy"][1]).all()
    assert (train / "unreadable.csv").read_text() == "id,reason\ncat.2,broken\n"
    assert {path.name for path in train.iterdir()} == {*found, "unreadable.csv"}


def test_the_files_equal_those_that_numpy_saves(cache):
    for path in (cache / "features").rglob("*.npy"):
        again = cache / "again.npy"
        np.save(again, np.load(path))
        assert again.read_bytes() == path.read_bytes(), path
