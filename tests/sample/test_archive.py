import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catsdogs.sample import archive
from catsdogs.sources import Source


def _members(path: Path) -> dict[str, bytes]:
    """Return the content of every file in the zip and in its inner zips, by path."""
    found = {}
    with zipfile.ZipFile(path) as outer:
        for name in outer.namelist():
            if not name.endswith(".zip"):
                found[name] = outer.read(name)
                continue
            with zipfile.ZipFile(io.BytesIO(outer.read(name))) as inner:
                found |= {f"{name}/{member}": inner.read(member) for member in inner.namelist()}
    return found


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """Replace `draw` by blank images, and return the labels and swapped coats of its calls, in order."""
    calls: list[tuple[int, bool]] = []

    def blank(label: int, generator: np.random.Generator, *, swapped: bool) -> Image.Image:
        calls.append((label, swapped))
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(archive, "draw", blank)
    return calls


def test_the_same_seed_draws_the_same_zip(tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        archive.write_sample(tmp_path / name, seed=3, train=6, test=3)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_another_seed_draws_other_images(tmp_path: Path) -> None:
    for seed in (0, 1):
        archive.write_sample(tmp_path / f"{seed}.zip", seed=seed, train=4, test=2)
    zero, one = _members(tmp_path / "0.zip"), _members(tmp_path / "1.zip")
    assert zero.keys() == one.keys()
    assert all(zero[name] != one[name] for name in zero if name.endswith(".jpg"))


def test_an_image_does_not_depend_on_the_others(tmp_path: Path) -> None:
    archive.write_sample(tmp_path / "few.zip", train=4, test=2)
    archive.write_sample(tmp_path / "more.zip", train=9, test=5)
    few, more = _members(tmp_path / "few.zip"), _members(tmp_path / "more.zip")
    del few["sample_submission.csv"]
    assert few.items() <= more.items()


def test_the_sample_has_the_layout_of_kaggles_download(tmp_path: Path, drawn: list[tuple[int, bool]]) -> None:
    path = tmp_path / archive.OUTER
    labels = archive.write_sample(path)
    members = _members(path)
    expected = {f"train.zip/train/{kind}.{n}.jpg" for kind in ("cat", "dog") for n in range(100)}
    expected |= {f"test.zip/test/{n}.jpg" for n in range(1, 41)}
    assert members.keys() == expected | {"sample_submission.csv"}
    lines = members["sample_submission.csv"].decode().splitlines()
    assert lines == ["id,label", *(f"{n},0.5" for n in range(1, 41))]
    assert labels.shape == (40,)
    assert labels.dtype == np.int8


def test_the_zips_have_no_compression_and_fixed_dates(tmp_path: Path, drawn: list[tuple[int, bool]]) -> None:
    archive.write_sample(tmp_path / "sample.zip", train=2, test=1)
    with zipfile.ZipFile(tmp_path / "sample.zip") as outer:
        infos = outer.infolist()
        for name in ("train.zip", "test.zip"):
            with zipfile.ZipFile(io.BytesIO(outer.read(name))) as inner:
                infos += inner.infolist()
    assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}


def test_the_returned_labels_are_those_of_the_images(tmp_path: Path, drawn: list[tuple[int, bool]]) -> None:
    labels = archive.write_sample(tmp_path / "sample.zip", train=0, test=40)
    assert [label for label, _ in drawn] == labels.tolist()
    assert set(labels) == {0, 1}


def test_one_image_in_twelve_has_the_coat_of_the_other_class(tmp_path: Path, drawn: list[tuple[int, bool]]) -> None:
    archive.write_sample(tmp_path / "sample.zip", train=50, test=40)
    test, cats, dogs = [11, 23, 35], [11, 23], [11, 23]
    swapped = [number for number, (_, swapped) in enumerate(drawn) if swapped]
    assert swapped == [n - 1 for n in test] + [40 + n for n in cats] + [40 + 25 + n for n in dogs]


def test_a_source_reads_the_sample(tmp_path: Path) -> None:
    archive.write_sample(tmp_path / archive.OUTER, train=5, test=3)
    with Source(tmp_path / archive.OUTER) as source:
        train, test = source.splits["train"], source.splits["test"]
    assert train.ids == ("cat.0", "cat.1", "cat.2", "dog.0", "dog.1")
    assert train.labels.tolist() == [0, 0, 0, 1, 1]
    assert test.ids == ("1", "2", "3")
    assert test.labels.tolist() == [-1, -1, -1]
