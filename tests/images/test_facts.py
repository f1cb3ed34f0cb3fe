import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import laplace

from catsdogs.images.decoding import decode_resized, decode_thumbnail, decode_with_facts
from catsdogs.images.facts import FACTS


def computed(pixels, size):
    """Return the facts of upright RGB pixels, computed in float64."""
    height, width, _ = pixels.shape
    luma = np.floor(pixels @ np.array([19595, 38470, 7471]) / 65536 + 0.5)  # 0.299, 0.587, 0.114 in Pillow's 16 bits
    k = -(-max(width, height) // 224)
    blocks = [luma[y : y + k, x : x + k] for y in range(0, height, k) for x in range(0, width, k)]
    means = np.floor(np.array([block.mean() for block in blocks]) + 0.5).reshape(-(-height // k), -(-width // k))
    inside = laplace(means)[1:-1, 1:-1]
    return width, height, size, luma.mean(), luma.std(), inside.var() if inside.size else np.nan


SIZES = [(1, 1), (1, 9), (9, 1), (2, 400), (3, 3), (5, 301), (224, 224), (225, 7), (331, 500), (1001, 37), (1, 3000)]


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_facts_equal_those_of_a_plain_numpy_computation(draw, encode, size, noisy):
    pixels = np.asarray(draw(3, size=size))
    if noisy:
        pixels = pixels ^ np.random.default_rng(0).integers(0, 256, pixels.shape, np.uint8)
    data = encode(Image.fromarray(pixels))
    resized, facts = decode_with_facts(data, (16, 32))
    assert facts.dtype == FACTS
    *exact, sharpness = computed(pixels, len(data))
    np.testing.assert_allclose(facts.item()[:-1], exact, rtol=1e-12)
    # Pillow rounds one mean in k * k down that is to be rounded up, unless k * k is a power of two.
    np.testing.assert_allclose(facts["sharpness"], sharpness, rtol=1e-12 if max(size) <= 448 else 0.01)
    for side, of_side in decode_resized(data, (16, 32)).items():
        np.testing.assert_array_equal(resized[side], of_side)


def variants(draw, encode):
    """Return files in other modes than RGB, and one with an EXIF orientation."""
    image, exif = draw(5, size=(60, 41)), Image.Exif()
    exif[0x0112] = 6
    alpha = image.copy()
    alpha.putalpha(draw(6, size=(60, 41)).convert("L"))
    wide = Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 251)
    return {
        "grey": encode(image.convert("L"), "JPEG"),
        "alpha": encode(alpha),
        "16 bit": encode(wide),
        "CMYK": encode(image.convert("CMYK"), "TIFF"),
        "palette": encode(image.quantize(9), "GIF"),
        "EXIF-turned": encode(image, "JPEG", exif=exif),
    }


@pytest.mark.parametrize("name", ["grey", "alpha", "16 bit", "CMYK", "palette", "EXIF-turned"])
def test_facts_are_of_the_upright_rgb_image(draw, encode, name):
    data = variants(draw, encode)[name]
    pixels = decode_thumbnail(data, 60)
    assert pixels.shape[:2] == ((60, 41) if name == "EXIF-turned" else (41, 60))
    np.testing.assert_allclose(decode_with_facts(data, (8,))[1].item(), computed(pixels, len(data)), rtol=1e-12)


def test_facts_are_the_same_whatever_the_views(draw, encode):
    data = encode(draw(5, size=(300, 401)), "JPEG")
    assert decode_with_facts(data, (8,))[1] == decode_with_facts(data, (512, 160))[1]


def test_a_sharper_image_is_of_higher_sharpness(draw, encode):
    image = draw(5, size=(300, 401))
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (401, 300, 3), np.uint8))
    of = [decode_with_facts(encode(Image.blend(image, noise, share)), (8,))[1]["sharpness"] for share in (0, 0.1, 0.2)]
    assert of[0] < of[1] < of[2]
