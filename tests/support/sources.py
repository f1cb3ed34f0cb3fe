"""Look into a source of images."""

import os
from contextlib import contextmanager
from pathlib import Path

import pytest

from catsdogs.errors import CatsDogsError
from catsdogs.sources import Source

TRAIN_IDS = ("cat.1", "cat.2", "cat.10", "dog.1", "dog.2", "dog.10")
TEST_IDS = ("1", "2", "3", "9", "10", "100")
"""The ids of the fixture `pictures`, in order."""


def of_split(pictures, split):
    return {name: content for name, content in pictures.items() if name.startswith(f"{split}/")}


def contents(path):
    """Return {split: [(id, label, bytes)]} of all images of a source."""
    with Source(path) as source:
        return {
            name: [
                (id_, label, file.read())
                for id_, label, file in zip(split.ids, split.labels.tolist(), split.files, strict=True)
            ]
            for name, split in source.splits.items()
        }


def read_all(path):
    """Return {id: bytes, or the reason why not} of a zip's test images."""
    found = {}
    with Source(path) as source:
        for name, file in zip(source.splits["test"].ids, source.splits["test"].files, strict=True):
            try:
                found[name] = file.read()
            except OSError as error:
                found[name] = str(error)
    return found


def failure(path):
    before = open_descriptors()
    with pytest.raises(CatsDogsError) as error:
        Source(path)
    assert open_descriptors() == before, "a failed opening leaves files open"
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def open_descriptors():
    table = Path("/proc/self/fd")
    return len(list(table.iterdir())) if table.exists() else 0


@contextmanager
def without_privileges():
    """Root may read everything; nobody may not."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
