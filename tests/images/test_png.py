import numpy as np
import pytest

from catsdogs.images import png
from catsdogs.images.decoding import decode


@pytest.fixture(scope="module")
def pixels(draw):
    return np.asarray(draw(1, size=(224, 224)))


@pytest.fixture(scope="module")
def content(pixels):
    return png.encode(pixels)


def test_an_encoded_png_decodes_to_the_same_pixels(pixels, content):
    np.testing.assert_array_equal(decode(content), pixels)


def test_a_complete_png_of_the_size_is_valid(content, tmp_path):
    (tmp_path / "a.png").write_bytes(content)
    assert png.is_valid(tmp_path / "a.png", 224)
    assert not png.is_valid(tmp_path / "a.png", 288)
    assert not png.is_valid(tmp_path / "nowhere.png", 224)


@pytest.mark.parametrize("length", [0, 7, 1000, -1, -12])
def test_a_truncated_png_is_not_valid(content, tmp_path, length):
    (tmp_path / "a.png").write_bytes(content[:length])
    assert not png.is_valid(tmp_path / "a.png", 224)


@pytest.mark.parametrize("position", [1, 18, 40, 5000, -6])
def test_a_png_with_a_flipped_bit_is_not_valid(content, tmp_path, position):
    damaged = bytearray(content)
    damaged[position] ^= 4
    (tmp_path / "a.png").write_bytes(damaged)
    assert not png.is_valid(tmp_path / "a.png", 224)


def test_a_jpeg_named_png_is_not_valid(draw, encode, tmp_path):
    (tmp_path / "a.png").write_bytes(encode(draw(1, size=(224, 224)), "JPEG"))
    assert not png.is_valid(tmp_path / "a.png", 224)
