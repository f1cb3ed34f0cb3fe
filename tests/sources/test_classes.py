import csv
import json
import shutil
from functools import partial

import joblib
import numpy as np
import pytest

import catsdogs
from catsdogs import CatsDogsError, import_features, load_features
from catsdogs.cli.listings import info_lines
from catsdogs.cli.predictions import prediction_lines
from catsdogs.cli.summaries import extraction_lines, run_lines
from catsdogs.sources.classes import CLASSES, parse_classes


@pytest.fixture(scope="module")
def insects(draw, encode):
    """Ten ants and ten bees, and two images without a label."""
    images = {f"train/ants/{n}.jpg": encode(draw(n), "JPEG") for n in range(10)}
    images |= {f"train/bees/{n}.jpg": encode(draw(100 + n), "JPEG") for n in range(10)}
    return images | {f"test/{n}.jpg": encode(draw(200 + n), "JPEG") for n in (1, 2)} | {"test/3.jpg": b""}


@pytest.fixture
def run(tmp_path, tiny_backbone):
    return partial(catsdogs.run, artifacts=tmp_path / "artifacts", weights=str(tiny_backbone))


@pytest.fixture
def extract(tmp_path, tiny_backbone):
    return partial(catsdogs.extract, artifacts=tmp_path / "artifacts", weights=str(tiny_backbone))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, insects, write_folder, tiny_backbone):
    """The folder of the insects, the artifacts of a run on them, and what it returned."""
    folder = tmp_path_factory.mktemp("finished")
    data, artifacts = write_folder(folder / "data", insects), folder / "artifacts"
    return data, artifacts, catsdogs.run(data, artifacts=artifacts, weights=str(tiny_backbone))


def tree(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("given", ["ants,bees", ["ants", "bees"], ("ants", "bees")])
def test_two_different_names_are_two_classes(given):
    assert parse_classes(given) == ("ants", "bees")


@pytest.mark.parametrize(
    "given",
    ["", "ants", "a,b,c", "ants,", "ants,ants", "ant,Ants", "a/b,c", "a, b", ["a", "b,c"], [1, 2], ["a", "\x1b"]],
)
def test_anything_but_two_different_names_is_refused(given, tmp_path):
    with pytest.raises(CatsDogsError, match=r"cannot be the classes\. Give two different names, such as ants,bees"):
        catsdogs.extract(tmp_path, classes=given, artifacts=tmp_path / "artifacts")
    assert not (tmp_path / "artifacts").exists()


def test_two_class_folders_name_the_classes_in_all_results(finished, run):
    data, artifacts, done = finished
    assert done.extraction.classes == done.submission.classes == ("ants", "bees")
    assert done.metrics.classes == ("ants", "bees")
    for name in ("features/manifest.json", "head.json", "metrics.json"):
        assert json.loads((artifacts / name).read_text())["classes"] == ["ants", "bees"]
    found = load_features(artifacts)
    assert (found.classes, found.ids[[0, -1]].tolist()) == (("ants", "bees"), ["ants.0", "bees.9"])
    test = load_features(artifacts, split="test").features[:2]
    of_bees = joblib.load(artifacts / "head.joblib").predict_proba(test)[:, 1]
    with (artifacts / "submission.csv").open() as file:
        submitted = [float(row["label"]) for row in csv.DictReader(file)]
    assert submitted[:2] == pytest.approx(np.clip(of_bees, done.submission.clip, 1 - done.submission.clip))
    answers = catsdogs.predict(data / "train", artifacts=artifacts)
    assert {answer.label for answer in answers} <= {"ants", "bees"}
    said = [*run_lines(done, artifacts), *info_lines(catsdogs.info(artifacts)), *prediction_lines(answers)]
    text = "\n".join(" ".join(line) for line in said).replace("catsdogs", "").replace(str(data.parent), "")
    assert "ants and bees" in text
    assert "the fraction of bees in training" in text
    assert "cat" not in text.split()
    assert "dog" not in text
    again = run(data, artifacts=artifacts)
    assert (again.extraction.computed, again.trained) == (0, False)


def test_folders_zips_and_flat_files_of_classes_give_the_same_bytes(
    tmp_path, insects, write_folder, zipped, tiny_backbone
):
    flat = {
        f"train/{name.split('/')[1]}.{name.split('/')[2]}" if name.startswith("train") else name: content
        for name, content in insects.items()
    }
    (tmp_path / "one.zip").write_bytes(zipped(insects))
    packed = {"train.zip": zipped({k: v for k, v in insects.items() if k.startswith("train")})}
    packed |= {"test.zip": zipped({k: v for k, v in insects.items() if k.startswith("test")})}
    write_folder(tmp_path / "packed", packed)
    forms = [(write_folder(tmp_path / "folder", insects), None), (tmp_path / "one.zip", None)]
    forms += [(tmp_path / "packed", None), (write_folder(tmp_path / "flat", flat), "ants,bees")]
    for number, (data, classes) in enumerate(forms):
        catsdogs.extract(data, artifacts=tmp_path / str(number), weights=str(tiny_backbone), classes=classes)
    trees = [tree(tmp_path / str(number) / "features") for number in range(len(forms))]
    assert trees[0]["train/labels.npy"]
    assert all(each == trees[0] for each in trees)


def test_labels_of_other_classes_are_removed_only_with_prune(tmp_path, insects, write_folder, finished, run, extract):
    data, artifacts = finished[0], tmp_path / "artifacts"
    shutil.copytree(finished[1], artifacts)
    hornets = {f"hornets/{n}.jpg": content for n, content in enumerate(insects.values()) if n < 10}
    wasps = {f"wasps/{n}.jpg": content for n, content in enumerate(insects.values()) if 10 <= n < 20}
    others = write_folder(tmp_path / "others", hornets | wasps)
    labels = load_features(artifacts).labels
    done = run(data, classes="bees,ants")
    assert (done.extraction.computed, done.trained) == (0, True)  # the rows are of the same images
    assert np.array_equal(load_features(artifacts).labels, 1 - labels)
    assert load_features(artifacts).classes == ("bees", "ants")
    assert extract(data).classes == ("bees", "ants")
    assert run(others).metrics.classes == ("hornets", "wasps")
    # What has no labels is of no classes, and stays.
    assert load_features(artifacts, split="test").ids.tolist() == ["1", "2", "3"]
    before = tree(artifacts)
    labelled = write_folder(tmp_path / "labelled", {f"test/{name}": of for name, of in (hornets | wasps).items()})
    with pytest.raises(
        CatsDogsError,
        match=r"has 20 rows with the labels hornets and wasps; bees and ants would replace them\.",
    ):
        extract(labelled, classes="bees,ants")
    assert tree(artifacts) == before


def test_a_labelled_split_that_is_not_given_is_removed_with_its_classes(
    tmp_path, draw, encode, write_folder, extract, run
):
    def of(split, *kinds):
        return {f"{split}/{kind}/{n}.jpg": encode(draw(len(kind) * 50 + n)) for kind in kinds for n in range(10)}

    extract(write_folder(tmp_path / "insects", of("train", "ants", "bees") | of("test", "ants", "bees")))
    run(write_folder(tmp_path / "others", of("train", "hornet", "wasp")), prune=True)
    manifest = catsdogs.info(tmp_path / "artifacts").features
    assert (list(manifest.splits), manifest.classes) == (["train"], ("hornet", "wasp"))
    assert not (tmp_path / "artifacts/features/test").exists()
    assert not catsdogs.verify(tmp_path / "artifacts").problems


def test_images_without_labels_do_not_set_the_classes(tmp_path, insects, write_folder, finished, run, extract):
    test = {name: content for name, content in insects.items() if name.startswith("test")}
    run(write_folder(tmp_path / "test", test))
    done = extract(finished[0])
    assert (done.computed, done.classes) == (20, ("ants", "bees"))
    assert load_features(tmp_path / "artifacts").classes == ("ants", "bees")
    assert any("ants and bees" in text for _, text in extraction_lines(done, tmp_path))


def test_three_class_folders_are_an_error_and_nothing_is_written(tmp_path, insects, write_folder, extract):
    wasps = {f"train/wasps/{n}.jpg": insects[f"test/{n}.jpg"] for n in (1, 2)}
    data = write_folder(tmp_path / "data", insects | wasps)
    with pytest.raises(CatsDogsError, match=r"3 folders that may be classes: ants, bees, wasps"):
        extract(data)
    assert not (tmp_path / "artifacts").exists()
    done = extract(data, classes="ants,bees")
    assert (done.images["train"], done.skipped) == (20, 2)
    assert extract(data).classes == ("ants", "bees")  # as the artifacts were made


def test_imported_features_have_the_classes_that_were_given(tmp_path):
    features = np.random.default_rng(0).random((20, 2048)).astype(np.float32)
    ids, labels = [str(n) for n in range(20)], np.arange(20) % 2
    import_features(ids, labels, views={"224": features}, artifacts=tmp_path, classes=("ants", "bees"))
    import_features(ids, None, views={"224": features}, artifacts=tmp_path, split="test")
    assert load_features(tmp_path).classes == load_features(tmp_path, split="test").classes == ("ants", "bees")
    assert catsdogs.train(tmp_path).metrics.classes == ("ants", "bees")
    with pytest.raises(CatsDogsError, match="with the labels ants and bees; cat and dog would replace them"):
        import_features(ids, labels, views={"224": features}, artifacts=tmp_path, split="test", classes=CLASSES)


def test_the_error_names_a_class_with_too_few_images(tmp_path):
    features = np.random.default_rng(0).random((20, 2048)).astype(np.float32)
    names, labels = [str(n) for n in range(20)], [0] * 16 + [1] * 4
    import_features(names, labels, views={"224": features}, artifacts=tmp_path, classes=("ants", "bees"))
    with pytest.raises(CatsDogsError, match="of the class bees: 4"):
        catsdogs.train(tmp_path)


def test_a_cache_without_class_names_has_the_classes_cat_and_dog(tmp_path, insects, write_folder, extract):
    from catsdogs.storage import to_sealed_json, unseal

    cats = {name.replace("ants", "cat").replace("bees", "dog"): content for name, content in insects.items()}
    data = write_folder(tmp_path / "data", cats)
    extract(data)
    path = tmp_path / "artifacts/features/manifest.json"
    content = json.loads(path.read_text())
    assert unseal(content)
    del content["classes"]
    path.write_bytes(to_sealed_json(content))
    assert load_features(tmp_path / "artifacts").classes == CLASSES
    assert extract(data).computed == 0
