import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from support.report import Page

import catsdogs
from catsdogs.reporting.thumbnails import cut_thumbnails


def test_every_picture_that_is_shown_is_the_image_itself_in_its_proportions(reported, data):
    page = Page(reported.path.read_bytes())
    images = page.all("img")
    assert (reported.missing, reported.problems) == (0, ())
    assert len({attributes["src"] for attributes in images}) == reported.images - 1  # cat.4 is dog.4
    for attributes in images:
        found = Image.open(io.BytesIO(base64.b64decode(attributes["src"].partition(",")[2])))
        assert found.size == (int(attributes["width"]), int(attributes["height"])) == (40, 30)
        if match := re.match(r"The training image (cat|dog)\.(\d+), labelled \1", attributes["alt"]):
            with Image.open(data / f"train/{match[1]}.{match[2]}.jpg") as image:
                expected = np.asarray(image.convert("RGB"), float)
            assert np.abs(np.asarray(found.convert("RGB"), float) - expected).mean() < 6


@pytest.mark.parametrize("form", ["JPEG", "TIFF", "PNG"])
def test_pictures_that_are_turned_by_exif_keep_their_proportions(tmp_path, draw, write_folder, cache_of, form):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    draw(7, size=(800, 400)).save(file, form, exif=exif)
    images = {
        f"train/{kind}.{n}.{form.lower()}": file.getvalue() + bytes(n) for kind in ("cat", "dog") for n in range(1)
    }
    folder = cache_of(write_folder(tmp_path / "data", images), tmp_path / "artifacts")
    features = catsdogs.load_features(folder)
    key = ("train", features.ids[0])
    found = _Place(features, {"train": str(tmp_path / "data")})
    picture = cut_thumbnails(found, [key], most=60_000).pictures[key]
    assert (picture.width, picture.height) == (160, 320)


class _Place:
    """What cut_thumbnails asks of findings: where images are, and what they were."""

    def __init__(self, features, source):
        self.classes, self.source = features.classes, source
        self.digests = {
            ("train", name): row.tobytes() for name, row in zip(features.ids.tolist(), features.digests, strict=True)
        }


def test_a_picture_takes_no_more_bytes_than_it_may(tmp_path, encode, write_folder, cache_of):
    noise = np.random.default_rng(0).integers(0, 256, (400, 600, 3), np.uint8)
    images = {
        f"train/{kind}.0.png": encode(Image.fromarray(np.roll(noise, n))) for n, kind in enumerate(("cat", "dog"))
    }
    features = catsdogs.load_features(cache_of(write_folder(tmp_path / "data", images), tmp_path / "artifacts"))
    found = _Place(features, {"train": str(tmp_path / "data")})
    sizes = []
    for most in (60_000, 30_000, 6_000):
        picture = cut_thumbnails(found, [("train", "cat.0")], most=most).pictures["train", "cat.0"]
        assert len(picture.uri) <= most
        sizes.append(picture.width)
    assert sizes[0] > sizes[1] > sizes[2] > 90


@pytest.mark.slow
def test_a_page_of_pictures_that_hardly_compress_is_below_five_megabytes(tmp_path, encode, write_folder, cache_of):
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    images = {
        f"train/{kind}.{n}.jpg": encode(Image.fromarray(np.roll(noise, n + 1000 * label)), "JPEG")
        for label, kind in enumerate(("cat", "dog"))
        for n in range(100)
    }
    images |= {f"test/{n}.jpg": encode(Image.fromarray(np.roll(noise, 3000 + n)), "JPEG") for n in range(30)}
    mistaken = {f"{kind}.{n}" for kind in ("cat", "dog") for n in range(25)}
    folder = cache_of(write_folder(tmp_path / "data", images), tmp_path / "artifacts", mistaken)
    catsdogs.train(folder)
    done = catsdogs.report(folder)
    assert (done.pictures > 80, done.missing) == (True, 0)
    assert 2_000_000 < done.size == done.path.stat().st_size < 5_000_000
