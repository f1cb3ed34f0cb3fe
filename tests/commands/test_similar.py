import json
import re
import shutil

import numpy as np
import pytest
from support.program import command
from support.report import Page

import catsdogs
from catsdogs import CatsDogsError, OptionError


@pytest.fixture(scope="module")
def made(tmp_path_factory, draw, encode, write_folder, tiny_backbone):
    """Features without a head: 24 training images and 6 test images, one of which is unreadable."""
    folder = tmp_path_factory.mktemp("made")
    images = {
        f"train/{kind}.{n}.png": encode(draw(n + 100 * at)) for at, kind in enumerate(("cat", "dog")) for n in range(12)
    }
    images |= {f"test/{n}.png": encode(draw(1000 + n)) for n in range(5)} | {"test/5.png": b"no image"}
    write_folder(folder / "data", images)
    catsdogs.extract(folder / "data", artifacts=folder / "artifacts", weights=str(tiny_backbone))
    return folder


@pytest.fixture(scope="module")
def artifacts(made):
    return made / "artifacts"


def expected(artifacts, split, name):
    """Return the cosines of an image and all others by split and id, in float64."""
    images = {of: catsdogs.load_features(artifacts, split=of) for of in ("train", "test")}
    (own,) = images[split].features[images[split].ids == name].astype(float)
    cosines = {}
    for of, cached in images.items():
        for other, row in zip(cached.ids.tolist(), cached.features.astype(float), strict=True):
            if other not in cached.unreadable and (of, other) != (split, name):
                cosines[of, other] = own @ row / np.linalg.norm(own) / np.linalg.norm(row)
    return cosines


def test_the_nearest_images_of_both_splits_are_found_without_the_backbone(artifacts, monkeypatch):
    monkeypatch.setenv("CATSDOGS_WEIGHTS", "/nowhere.keras")
    cosines = expected(artifacts, "train", "dog.3")
    found = catsdogs.similar("dog.3", artifacts=artifacts, count=8)
    assert [near.key for near in found] == sorted(cosines, key=cosines.get, reverse=True)[:8]
    for near in found:
        assert near.similarity == pytest.approx(cosines[near.key], abs=1e-5)
        assert near.label == (near.id[:3] if near.split == "train" else None)
    assert len(catsdogs.similar("dog.3", artifacts=artifacts, count=1000)) == len(cosines)


def test_a_test_image_is_given_by_its_id_or_its_split_and_id(artifacts):
    found = catsdogs.similar("2", artifacts=artifacts)
    assert found == catsdogs.similar("test/2", artifacts=artifacts)
    assert ("test", "2") not in {near.key for near in found}


def test_a_cached_file_is_found_itself_without_the_backbone(made, artifacts, tmp_path, monkeypatch):
    monkeypatch.setenv("CATSDOGS_WEIGHTS", "/nowhere.keras")
    copy = shutil.copy(made / "data/train/cat.7.png", tmp_path / "any name")
    first, *others = catsdogs.similar(copy, artifacts=artifacts)
    assert (first.key, first.similarity) == (("train", "cat.7"), pytest.approx(1, abs=1e-6))
    assert others == catsdogs.similar("cat.7", artifacts=artifacts, count=9)


def test_features_of_another_file_are_computed_as_those_of_the_cache(made, artifacts, tmp_path, encode, draw):
    (tmp_path / "new.bmp").write_bytes(encode(draw(107), "BMP"))  # the pixels of dog.7
    before = {path: path.stat().st_mtime_ns for path in artifacts.rglob("*")}
    first, *_ = catsdogs.similar(tmp_path / "new.bmp", artifacts=artifacts)
    assert (first.key, first.similarity) == (("train", "dog.7"), pytest.approx(1, abs=1e-6))
    assert {path: path.stat().st_mtime_ns for path in artifacts.rglob("*")} == before


def test_other_weights_than_those_of_the_cache_are_refused(artifacts, tmp_path, encode, draw):
    from support.backbone import write_backbone

    other = write_backbone(tmp_path / "other.keras", seed=9)
    (tmp_path / "new.png").write_bytes(encode(draw(5000)))
    with pytest.raises(CatsDogsError, match=r"other\.keras is not the network that computed the features"):
        catsdogs.similar(tmp_path / "new.png", artifacts=artifacts, weights=str(other))


def test_what_cannot_be_compared_is_refused_in_one_line(made, artifacts, tmp_path, cache_of, encode, draw):
    for image, said in (
        ("cat.99", "there is neither a file cat.99 nor a cached image with this id"),
        (str(tmp_path), "with this id. Give the path of one image, not of a folder, or an id"),
        ("long" * 2000, "there is neither a file"),
        (["cat.1"], "['cat.1'] cannot be a path. Give one path, as a string or a Path"),
        ("5", "5 is unreadable: "),
        (made / "data/test/5.png", "5.png is unreadable: "),
    ):
        with pytest.raises(CatsDogsError, match=re.escape(said)):
            catsdogs.similar(image, artifacts=artifacts)
    (tmp_path / "bad.png").write_bytes(b"no image either")
    with pytest.raises(CatsDogsError, match=r"bad\.png is unreadable: "):
        catsdogs.similar(tmp_path / "bad.png", artifacts=artifacts)
    picture = made / "data/train/cat.0.png"
    before = picture.read_bytes()
    for html in (picture, artifacts / "head.json"):
        with pytest.raises(OptionError, match=r"is not the name of a page, which would replace it\. Give --html FILE"):
            catsdogs.similar(picture, artifacts=artifacts, html=html)
    assert picture.read_bytes() == before
    with pytest.raises(OptionError, match="the count is 0"):
        catsdogs.similar("cat.1", artifacts=artifacts, count=0)
    imported = cache_of(made / "data", tmp_path / "imported")
    (tmp_path / "new.png").write_bytes(encode(draw(5001)))
    with pytest.raises(CatsDogsError, match="were imported, so those of other images cannot be computed"):
        catsdogs.similar(tmp_path / "new.png", artifacts=imported)
    assert len(catsdogs.similar("cat.1", artifacts=imported)) == 10


def test_the_command_prints_lines_and_json_and_writes_a_page(artifacts, tmp_path):
    page = tmp_path / "similar.html"
    done = command("similar", "dog.3", "--count", 8, "--artifacts", artifacts, "--html", page)
    found = catsdogs.similar("dog.3", artifacts=artifacts, count=8)
    *lines, wrote = done.stdout.splitlines()
    assert (done.returncode, done.stderr, wrote) == (0, "", f"wrote       {page}")
    for line, near in zip(lines, found, strict=True):
        name = near.id if near.split == "train" else f"test/{near.id}"
        assert line == f"{near.label or 'no label':<12}{near.similarity:.4f}  {name}"
    printed = command("similar", "dog.3", "--count", 8, "--artifacts", artifacts, "--json").stdout
    assert json.loads(printed) == [near.to_dict() for near in found]
    assert shown_on(page) == ["Training image dog.3, labelled dog", *map(alternative, found)]


def alternative(image):
    split = {"train": "Training", "test": "Test"}[image.split]
    return f"{split} image {image.id}" + (f", labelled {image.label}" if image.label else "")


def shown_on(page):
    """Return what the images of a page are said to be; all are embedded."""
    images = Page(page.read_bytes()).all("img")
    assert {image["src"][:10] for image in images} == {"data:image"}
    return [" ".join(image["alt"].split()).replace(" ,", ",") for image in images]


def test_the_page_shows_a_given_file_that_is_not_cached(artifacts, tmp_path, encode, draw):
    new, page = tmp_path / "<b>new.png", tmp_path / "similar.html"
    new.write_bytes(encode(draw(5002, (90, 60))))
    found = catsdogs.similar(new, artifacts=artifacts, count=3, html=page)
    assert [near.preview for near in found] == [None] * 3
    assert shown_on(page) == [f"Image {new}", *map(alternative, found)]
    first, *_ = Page(page.read_bytes()).all("img")
    assert (first["width"], first["height"]) == ("90", "60")


def test_previews_are_the_images_themselves(made, artifacts):
    from PIL import Image

    found = catsdogs.similar("dog.3", artifacts=artifacts, count=4, previews=4)
    assert all(near.preview is None for near in catsdogs.similar("dog.3", artifacts=artifacts, count=5, previews=4))
    for near in found:
        with Image.open(made / "data" / near.split / f"{near.id}.png") as image:
            difference = np.abs(near.preview - np.asarray(image, float)).mean()
        assert difference < 6
