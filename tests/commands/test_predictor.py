"""`Predictor` and `predict`: what images may be, threads, and processes."""

import io
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import catsdogs
from catsdogs import CatsDogsError, Predictor


@pytest.fixture(scope="module")
def trained(tmp_path_factory, draw, encode, write_folder, tiny_backbone):
    folder = tmp_path_factory.mktemp("trained")
    files = {f"{kind}.{n}.png": encode(draw(n + 50 * (kind == "dog"))) for kind in ("cat", "dog") for n in range(12)}
    data = write_folder(folder / "train", files)
    catsdogs.extract(data, artifacts=folder / "artifacts", weights=Path(tiny_backbone))
    catsdogs.train(folder / "artifacts")
    return folder / "artifacts"


@pytest.fixture
def predictor(trained, tiny_backbone):
    with Predictor(trained, weights=tiny_backbone) as opened:
        yield opened


def probability(predictor, image):
    (prediction,) = predictor.predict(image)
    assert prediction.image == "-"
    return prediction.probability


class Unbuffered(io.RawIOBase):
    """A file that returns fewer bytes than asked for, as a socket does."""

    def __init__(self, content):
        self._file = io.BytesIO(content)

    def read(self, size=-1, /):
        return self._file.read(min(size, 100))


def test_one_image_has_the_same_probability_in_every_form(predictor, trained, tiny_backbone, draw, encode, tmp_path):
    content = encode(draw(7))
    path = tmp_path / "7.png"
    path.write_bytes(content)
    (wanted,) = predictor.predict(path)
    image = Image.open(path).convert("RGB")
    with path.open("rb") as buffered, path.open("rb", buffering=0) as raw:
        forms = [
            content,
            bytearray(content),
            memoryview(content),
            buffered,
            raw,
            Unbuffered(content),
            io.BytesIO(content),
            image,
            np.asarray(image),
        ]
        assert {probability(predictor, form) for form in forms} == {wanted.probability}
    together = [found.probability for found in predictor.predict([str(path), content])]
    assert together == pytest.approx([wanted.probability] * 2, abs=1e-6)  # in a larger batch
    assert catsdogs.predict(path, artifacts=trained, weights=tiny_backbone) == [wanted]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_a_pillow_image_is_predicted_as_its_lossless_file(predictor, draw, mode):
    image = draw(3).convert("L").convert(mode) if mode == "I;16" else draw(3).convert(mode)
    file = io.BytesIO()
    image.save(file, "TIFF" if mode in ("CMYK", "YCbCr") else "PNG")
    assert probability(predictor, image) == probability(predictor, file.getvalue())


def test_the_orientation_of_a_pillow_image_counts(predictor, draw, encode):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encode(draw(5), exif=exif)
    assert probability(predictor, Image.open(io.BytesIO(content))) == probability(predictor, content)
    assert probability(predictor, content) != probability(predictor, draw(5))


@pytest.mark.parametrize(
    ("image", "finding"),
    [
        (3, "an image is of the type int"),
        ([None], "an image is of the type NoneType"),
        (np.zeros((4, 4)), r"an array is of the type float64 and the shape \(4, 4\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), "an array is of the type uint8 and the shape"),
        (np.zeros(4, np.uint8), "an array is of the type uint8 and the shape"),
        (io.StringIO("text"), "- is open as text"),
    ],
)
def test_another_type_is_refused_in_one_line_that_says_what_is_accepted(predictor, image, finding):
    with pytest.raises(CatsDogsError, match=finding) as error:
        predictor.predict(image)
    assert "\n" not in str(error.value)


def test_several_threads_get_what_one_gets(trained, tiny_backbone, draw):
    images = [draw(number) for number in range(24)]
    wanted = [answer.probability for answer in catsdogs.predict(images, artifacts=trained, weights=tiny_backbone)]
    with Predictor(trained, weights=tiny_backbone) as predictor, ThreadPoolExecutor(6) as threads:
        assert list(threads.map(lambda image: probability(predictor, image), images)) == pytest.approx(wanted, abs=1e-6)


def test_what_cannot_be_read_is_refused_in_one_line(predictor, tmp_path):
    closed, unsaved = io.BytesIO(), Image.new("RGB", (9, 9))
    closed.close()
    unsaved.info["icc_profile"] = "not bytes"
    with (tmp_path / "new").open("wb") as written:
        for image in (closed, written, unsaved, Image.new("RGB", (0, 5))):
            with pytest.raises(CatsDogsError, match="cannot be read"):
                predictor.predict(image)


def test_a_pillow_image_with_a_damaged_exif_block_is_predicted(predictor, draw):
    image = draw(3)
    wanted = probability(predictor, image)
    image.info["exif"] = b"Exif\0\0junk"
    assert probability(predictor, image) == wanted


def test_a_broken_zip_given_twice_is_reported_twice(predictor, tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(b"no zip")
    assert [found.image for found in predictor.predict([path, tmp_path, path])] == [str(path)] * 3


def test_a_closed_predictor_says_so(trained, tiny_backbone):
    with Predictor(trained, weights=tiny_backbone) as predictor:
        predictor.close()  # twice, with the end of the block
    with pytest.raises(CatsDogsError, match="the predictor is closed"):
        predictor.predict([])


def ask(predictor, answers):
    try:
        predictor.predict([])
    except CatsDogsError as error:
        answers.put(str(error))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_is_told_to_open_its_own(predictor):
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=ask, args=(predictor, answers))
    child.start()
    child.join()
    assert "the predictor belongs to the process that forked this one" in answers.get()
