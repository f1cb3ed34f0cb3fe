import csv
import json
import shutil

import joblib
import numpy as np
import pytest

import catsdogs
from catsdogs import CatsDogsError, import_features


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Artifacts with a head and 12 test images, the third of which is unreadable."""
    folder = tmp_path_factory.mktemp("artifacts")
    generator = np.random.default_rng(0)
    labels = np.array([0] * 60 + [1] * 40)
    features = generator.normal(size=(100, 2048)).astype(np.float32)
    features[:, :60] += labels[:, np.newaxis]
    import_features([str(n) for n in range(100)], labels, views={"224": features}, artifacts=folder)
    import_features(
        [str(n) for n in range(12, 0, -1)], None, views={"224": features[54:66]}, artifacts=folder, split="test"
    )
    catsdogs.train(folder)
    return folder


def rows(path):
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return header, [name for name, _ in rows], np.array([float(value) for _, value in rows])


def test_the_submission_is_what_kaggle_takes(made):
    done = catsdogs.submit(made)
    header, ids, values = rows(done.path)
    assert header == ["id", "label"]
    assert ids == [str(n) for n in range(1, 13)]
    features = np.load(made / "features/test/224.npy")
    expected = joblib.load(made / "head.joblib").predict_proba(features)[:, 1]
    clip = json.loads((made / "head.json").read_text())["clip"]
    assert np.allclose(values, np.clip(expected, clip, 1 - clip), atol=1e-5)
    assert (values[:6] > 0.5).all()
    assert (values[6:] < 0.5).all()
    content = done.path.read_bytes()
    assert b"\r" not in content
    assert content.endswith(b"\n")


def test_the_clip_is_stated_and_can_be_set(made):
    assert catsdogs.submit(made).clip == json.loads((made / "head.json").read_text())["clip"]
    done = catsdogs.submit(made, clip=0.2)
    _, _, values = rows(done.path)
    assert (done.clip, values.min(), values.max()) == (0.2, 0.2, 0.8)
    catsdogs.submit(made, clip=0)
    assert rows(done.path)[2].min() < 0.005


def test_without_a_clip_no_probability_is_0_or_1_however_far_out(made, tmp_path):
    artifacts = shutil.copytree(made, tmp_path / "artifacts")
    features = np.zeros((12, 2048), np.float32)
    features[:2, :60] = [[1e6], [-1e6]]
    import_features([str(n) for n in range(1, 13)], None, views={"224": features}, artifacts=artifacts, split="test")
    _, _, values = rows(catsdogs.submit(artifacts, clip=0).path)
    assert values[:2].tolist() == [np.nextafter(1, 0), np.finfo(np.float64).tiny]


@pytest.mark.parametrize("clip", [-0.1, 0.5, 1, float("nan")])
def test_a_clip_that_is_none_is_refused(made, clip):
    with pytest.raises(CatsDogsError, match=r"at least 0 and less than 0\.5"):
        catsdogs.submit(made, clip=clip)


def test_an_unreadable_test_image_has_the_training_share_of_dogs_and_is_named(
    tmp_path, write_folder, pictures, draw, encode, tiny_backbone
):
    images = dict(pictures)
    images |= {f"train/cat.{n}.jpg": encode(draw(n), "JPEG") for n in range(20, 29)}
    images |= {f"train/dog.{n}.jpg": encode(draw(100 + n), "JPEG") for n in range(20, 27)}
    images["test/9.jpg"] = b"no image"
    done = catsdogs.run(write_folder(tmp_path / "data", images), artifacts=tmp_path / "a", weights=str(tiny_backbone))
    _, ids, values = rows(done.submission.path)
    assert ids == ["1", "2", "3", "9", "10", "100"]
    assert values[3] == 10 / 22
    assert list(done.submission.unreadable) == ["9"]


def test_a_head_of_other_features_is_refused_and_the_old_submission_stays(made, tmp_path):
    import_features(
        ["1", "2"],
        None,
        views={"224": np.ones((2, 2048), np.float32)},
        artifacts=tmp_path,
        split="test",
        backbone="other",
    )
    for name in ("head.npz", "head.json"):
        (tmp_path / name).write_bytes((made / name).read_bytes())
    (tmp_path / "submission.csv").write_text("old")
    with pytest.raises(CatsDogsError, match=r"the head was trained on features of imported"):
        catsdogs.submit(tmp_path)
    assert (tmp_path / "submission.csv").read_text() == "old"


def test_without_a_head_or_test_features_the_command_that_makes_them_is_named(made, tmp_path):
    import_features(["1", "2"], [0, 1], views={"224": np.ones((2, 2048), np.float32)}, artifacts=tmp_path)
    with pytest.raises(CatsDogsError, match="Run catsdogs train first"):
        catsdogs.submit(tmp_path)
    for name in ("head.npz", "head.json"):
        (tmp_path / name).write_bytes((made / name).read_bytes())
    with pytest.raises(CatsDogsError, match=r"no test features.*Run catsdogs extract DATA first"):
        catsdogs.submit(tmp_path)
