"""Views of an image: each is a file, the image is decoded once, and only an added view is computed."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

import catsdogs
from catsdogs import CatsDogsError, ComputeOptions, load_features
from catsdogs.images.views import View, parse_views
from catsdogs.inference import loading


@pytest.fixture
def folder(tmp_path, pictures, write_folder):
    return write_folder(tmp_path / "data", pictures)


@pytest.fixture
def extract(tmp_path, tiny_backbone):
    def extract_views(data, *views, artifacts="artifacts", **options):
        return catsdogs.extract(
            data,
            artifacts=tmp_path / artifacts,
            weights=str(tiny_backbone),
            compute=ComputeOptions(views=views or None),
            **options,
        )

    return extract_views


def tree(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_names_are_sizes_with_an_m_if_mirrored():
    assert parse_views(["288", "224m", "224", "224"]) == (View(224), View(224, mirrored=True), View(288))
    assert [view.name for view in parse_views(["512", "160m"])] == ["160m", "512"]


def test_a_view_has_the_features_of_an_image_changed_that_way(folder, extract, tmp_path, pictures):
    extract(folder, "224", "224m", "288")
    features = load_features(tmp_path / "artifacts")
    assert features.views == ("224", "224m", "288")
    assert features.features.shape == (6, 3 * 2048)
    for name, data in pictures.items():
        if name.startswith("train/"):
            with Image.open(io.BytesIO(data)) as image:
                upright = image.resize((224, 224), Image.Resampling.BICUBIC)
            (folder / name).with_suffix(".jpg").unlink()
            ImageOps.mirror(upright).save((folder / name).with_suffix(".png"))
    extract(folder, "224", artifacts="mirrored")
    mirrored = load_features(tmp_path / "mirrored")
    assert np.array_equal(features.features[:, 2048:4096], mirrored.features)


def test_only_an_added_view_is_computed_and_the_files_are_identical(folder, extract, tmp_path, monkeypatch):
    decoded = []

    def note(decode):
        def noted(data, sizes, *, reserved=0):
            decoded.append(sorted(sizes))
            return decode(data, sizes, reserved=reserved)

        return noted

    for name in ("decode_resized", "decode_with_facts"):
        monkeypatch.setattr(loading, name, note(getattr(loading, name)))
    (folder / "train/dog.1.jpg").write_bytes(b"this is no image")
    extract(folder)
    assert decoded == [[224]] * 12
    decoded.clear()
    done = extract(folder, "224", "288m", "288")
    assert done.computed == 11
    assert sorted(decoded) == [[224, 288]] + [[288]] * 11  # the unreadable one is tried for all of them
    assert extract(folder).computed == 0  # by itself it is what is there
    extract(folder, "224", "288", "288m", artifacts="at once")
    assert tree(tmp_path / "artifacts/features") == tree(tmp_path / "at once/features")


def test_views_are_not_dropped_unless_pruning_was_asked_for(folder, extract, tmp_path):
    extract(folder, "224", "224m")
    with pytest.raises(CatsDogsError, match=r"view 224, 224m\); .*view 224\) would replace them.*--prune"):
        extract(folder, "224")
    assert load_features(tmp_path / "artifacts").views == ("224", "224m")


def test_an_interrupted_run_that_adds_a_view_keeps_its_rows(folder, extract, tmp_path, monkeypatch):
    extract(folder)
    before = load_features(tmp_path / "artifacts").features
    add_rows = catsdogs.cache.CacheWriter.add_rows
    added = []

    def breaks_off(self, digests, *rest):
        if added:
            raise KeyboardInterrupt
        added.extend(digests)
        add_rows(self, digests, *rest)

    monkeypatch.setattr(catsdogs.cache.CacheWriter, "add_rows", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        extract(folder, "224", "288")
    monkeypatch.undo()
    assert np.array_equal(load_features(tmp_path / "artifacts").features, before)
    assert catsdogs.info(tmp_path / "artifacts").shards == len(added)
    assert 0 < len(added) < 12
    assert extract(folder, "224", "288").computed == 12 - len(added)
    assert np.array_equal(load_features(tmp_path / "artifacts").features[:, :2048], before)


def test_a_new_view_is_missing_from_a_split_that_was_not_given(tmp_path, pictures, zipped, extract):
    for split in ("train", "test"):
        members = {name: data for name, data in pictures.items() if name.startswith(split + "/")}
        (tmp_path / f"{split}.zip").write_bytes(zipped(members))
        extract(tmp_path / f"{split}.zip")
    extract(tmp_path / "train.zip", "224", "288")
    with pytest.raises(CatsDogsError, match=r"the test features in .* do not have view 288\. Run"):
        load_features(tmp_path / "artifacts", split="test")
    assert extract(tmp_path / "test.zip").computed == 6
    assert load_features(tmp_path / "artifacts", split="test").features.shape == (6, 4096)


def test_a_head_of_several_views_predicts_from_all_of_them(folder, extract, tmp_path, draw, encode):
    for number in range(20, 34):
        name = f"train/{'dog' if number % 2 else 'cat'}.{number}.jpg"
        (folder / name).write_bytes(encode(draw(number), "JPEG"))
    extract(folder, "224", "224m")
    catsdogs.train(tmp_path / "artifacts")
    answers = catsdogs.predict(folder / "train", artifacts=tmp_path / "artifacts")
    from catsdogs.artifacts import Artifacts
    from catsdogs.head import load

    head = load(Artifacts(tmp_path / "artifacts"))
    expected = head.classifier.probabilities(load_features(tmp_path / "artifacts").features)
    np.testing.assert_allclose([answer.probability for answer in answers], expected, atol=1e-6)
