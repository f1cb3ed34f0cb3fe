import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from support.report import Page

import catsdogs
from catsdogs.reporting.thumbnails import ThumbnailSize, create_thumbnails


def test_thumbnails_show_the_image_in_its_aspect_ratio(reported, data):
    page = Page(reported.path.read_bytes())
    images = page.all("img")
    assert (reported.missing, reported.problems) == (0, ())
    assert len({attributes["src"] for attributes in images}) == reported.images - 1  # cat.4 is dog.4
    compared = 0
    for attributes in images:
        found = Image.open(io.BytesIO(base64.b64decode(attributes["src"].partition(",")[2])))
        assert found.size == (int(attributes["width"]), int(attributes["height"])) == (40, 30)
        if match := re.match(r"Training image (cat|dog)\.(\d+), labelled \1", attributes["alt"]):
            with Image.open(data / f"train/{match[1]}.{match[2]}.jpg") as image:
                expected = np.asarray(image.convert("RGB"), float)
            assert np.abs(np.asarray(found.convert("RGB"), float) - expected).mean() < 6
            compared += 1
    assert compared > 30


@pytest.mark.parametrize("form", ["JPEG", "TIFF", "PNG"])
def test_thumbnails_apply_the_exif_orientation(tmp_path, draw, write_folder, cache_of, form):
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
    thumbnail = thumbnail_of(key, 60_000, features, tmp_path / "data")
    assert (thumbnail.width, thumbnail.height) == (160, 320)


def thumbnail_of(key, most, features, data):
    digests = {
        ("train", name): row.tobytes() for name, row in zip(features.ids.tolist(), features.digests, strict=True)
    }
    source = {"train": str(data)}
    made = create_thumbnails({key: ThumbnailSize(320, most)}, digests, source=source, classes=features.classes)
    return made.by_key[key]


def test_a_thumbnail_is_no_larger_than_the_limit(tmp_path, encode, write_folder, cache_of):
    noise = np.random.default_rng(0).integers(0, 256, (400, 600, 3), np.uint8)
    images = {
        f"train/{kind}.0.png": encode(Image.fromarray(np.roll(noise, n))) for n, kind in enumerate(("cat", "dog"))
    }
    features = catsdogs.load_features(cache_of(write_folder(tmp_path / "data", images), tmp_path / "artifacts"))
    sizes = []
    for most in (60_000, 30_000, 6_000):
        thumbnail = thumbnail_of(("train", "cat.0"), most, features, tmp_path / "data")
        assert len(thumbnail.uri) <= most
        sizes.append(thumbnail.width)
    assert sizes[0] > sizes[1] > sizes[2] > 90


@pytest.mark.slow
def test_a_page_of_incompressible_images_is_below_five_megabytes(tmp_path, encode, write_folder, cache_of):
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
    assert (done.images > 80, done.missing) == (True, 0)
    assert 2_000_000 < done.size == done.path.stat().st_size < 5_000_000
