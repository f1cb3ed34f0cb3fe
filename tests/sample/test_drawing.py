import io
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from catsdogs.sample import drawing
from catsdogs.sources import Source


@cache
def _pixels(label: int, state: int) -> NDArray[np.uint8]:
    return np.asarray(drawing.draw(label, np.random.default_rng(state)))


def _members(path: Path) -> dict[str, bytes]:
    """Return the content of every file in the zip and in the zips within it, by path."""
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
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Put blank pictures in the place of drawn ones, and tell which labels were asked for, in order."""
    labels: list[int] = []

    def blank(label: int, generator: np.random.Generator) -> Image.Image:
        labels.append(label)
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(drawing, "draw", blank)
    return labels


def test_the_same_seed_draws_the_same_zip(tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        drawing.write_sample(tmp_path / name, seed=3, train=6, test=3)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_another_seed_draws_other_pictures(tmp_path: Path) -> None:
    for seed in (0, 1):
        drawing.write_sample(tmp_path / f"{seed}.zip", seed=seed, train=4, test=2)
    zero, one = _members(tmp_path / "0.zip"), _members(tmp_path / "1.zip")
    assert zero.keys() == one.keys()
    assert all(zero[name] != one[name] for name in zero if name.endswith(".jpg"))


def test_a_picture_is_the_same_whatever_the_others_are(tmp_path: Path) -> None:
    drawing.write_sample(tmp_path / "few.zip", train=4, test=2)
    drawing.write_sample(tmp_path / "more.zip", train=9, test=5)
    few, more = _members(tmp_path / "few.zip"), _members(tmp_path / "more.zip")
    del few["sample_submission.csv"]
    assert few.items() <= more.items()


def test_the_sample_is_laid_out_as_kaggle_ships_it(tmp_path: Path, drawn: list[int]) -> None:
    path = tmp_path / drawing.OUTER
    labels = drawing.write_sample(path)
    members = _members(path)
    expected = {f"train.zip/train/{kind}.{n}.jpg" for kind in ("cat", "dog") for n in range(100)}
    expected |= {f"test.zip/test/{n}.jpg" for n in range(1, 41)}
    assert members.keys() == expected | {"sample_submission.csv"}
    lines = members["sample_submission.csv"].decode().splitlines()
    assert lines == ["id,label", *(f"{n},0.5" for n in range(1, 41))]
    assert labels.shape == (40,)
    assert labels.dtype == np.int8


def test_the_zips_are_stored_without_compression_and_without_a_clock(tmp_path: Path, drawn: list[int]) -> None:
    drawing.write_sample(tmp_path / "sample.zip", train=2, test=1)
    with zipfile.ZipFile(tmp_path / "sample.zip") as outer:
        infos = outer.infolist()
        for name in ("train.zip", "test.zip"):
            with zipfile.ZipFile(io.BytesIO(outer.read(name))) as inner:
                infos += inner.infolist()
    assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}


def test_the_labels_returned_are_those_that_were_drawn(tmp_path: Path, drawn: list[int]) -> None:
    labels = drawing.write_sample(tmp_path / "sample.zip", train=0, test=40)
    assert drawn == labels.tolist()
    assert set(drawn) == {0, 1}


def test_a_source_reads_the_sample(tmp_path: Path) -> None:
    drawing.write_sample(tmp_path / drawing.OUTER, train=5, test=3)
    with Source(tmp_path / drawing.OUTER) as source:
        train, test = source.splits["train"], source.splits["test"]
    assert train.ids == ("cat.0", "cat.1", "cat.2", "dog.0", "dog.1")
    assert train.labels.tolist() == [0, 0, 0, 1, 1]
    assert test.ids == ("1", "2", "3")
    assert test.labels.tolist() == [-1, -1, -1]


def test_a_cat_and_a_dog_from_one_state_sit_in_the_same_scene() -> None:
    for state in range(12):
        cat, dog = _pixels(0, state), _pixels(1, state)
        assert cat.shape == dog.shape
        same = (cat == dog).all(axis=-1)
        assert 0.1 < same.mean() < 0.99


@pytest.mark.parametrize("label", [0, 1])
def test_pictures_of_one_class_vary_in_size_light_and_colour(label: int) -> None:
    pictures = [_pixels(label, state) for state in range(24)]
    assert all(picture.ndim == 3 and picture.shape[2] == 3 for picture in pictures)
    assert all(250 <= side <= 500 for picture in pictures for side in picture.shape[:2])
    assert len({picture.shape for picture in pictures}) > 20
    colours = np.array([picture.mean(axis=(0, 1)) for picture in pictures])
    assert colours.mean(axis=1).std() > 20
    assert np.ptp(colours, axis=1).max() > 40


@pytest.mark.parametrize("count", [24, pytest.param(60, marks=pytest.mark.slow)])
def test_size_and_brightness_do_not_tell_the_classes_apart(count: int) -> None:
    facts = np.array(
        [
            [
                [*picture.shape[:2], picture[:20].mean()]
                for picture in (_pixels(label, 2 * n + label) for n in range(count))
            ]
            for label in (0, 1)
        ]
    )
    apart = np.abs(facts[0].mean(axis=0) - facts[1].mean(axis=0)) / facts.std(axis=(0, 1))
    assert (apart < 0.5).all()
