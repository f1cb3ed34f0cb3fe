"""A stratified sample of features in Parquet."""

import json

import numpy as np
import pytest
from support.program import command

import catsdogs
from catsdogs import CatsDogsError, OptionError

pytest.importorskip("pyarrow", reason="needs the extra parquet")

from support.at_rest import PROVENANCE, table_of, write_rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("at_rest") / "rows")


AVAILABLE = {"cat": 330, "dog": 168}
"""500 training images without the unreadable 7 and the unlabelled 8, which would be cats."""


def test_a_sample_has_the_shares_of_the_classes_and_the_rows_as_they_are(rows, tmp_path):
    done = catsdogs.subset(rows, images=120, artifacts=tmp_path)
    assert (done.images, done.available, done.backbone) == ({"cat": 80, "dog": 40}, AVAILABLE, "made up")
    sample, whole = catsdogs.load_features(tmp_path), table_of(range(500), 500)
    at = [whole.ids.index(name) for name in sample.ids]
    assert at == sorted(set(at))
    assert not {7, 8} & {*at}
    for of_sample, of_all in (
        (sample.features, whole.features["224"]),
        (sample.labels, whole.labels),
        (sample.digests, whole.digests),
        (sample.facts, whole.facts),
    ):
        assert of_sample.tobytes() == of_all[at].tobytes()
    assert sample.provenance == PROVENANCE
    assert catsdogs.train(tmp_path).metrics.accuracy > 0.9


def test_a_seed_gives_one_sample_and_more_images_contain_fewer(rows, tmp_path):
    def ids(images, seed):
        catsdogs.subset(rows, images=images, seed=seed, artifacts=tmp_path / "a", prune=True)
        return {*catsdogs.load_features(tmp_path / "a").ids}

    first = ids(100, 0)
    assert first == ids(100, 0)
    assert first < ids(200, 0)
    assert len(first & ids(100, 1)) < 50
    assert len(ids(10_000, 0)) == sum(AVAILABLE.values())


def test_each_image_is_as_likely_as_another(rows, tmp_path):
    from catsdogs.cache.parquet import FeatureFiles
    from catsdogs.commands.subset import _draw

    files, seeds = FeatureFiles(rows), 60
    drawn = [position for seed in range(seeds) for position, *_ in _draw(files, 249, seed, None)[0]]
    counts = np.bincount(drawn, minlength=500)[np.setdiff1d(np.arange(500), [7, 8])]
    assert abs(counts.mean() / seeds - 0.5) < 0.001
    assert counts.std() < 1.3 * np.sqrt(seeds) / 2  # as of fair coins


def test_another_sample_in_the_same_folder_needs_prune(rows, tmp_path):
    assert command("subset", rows, "--images", 100, "--artifacts", tmp_path).returncode == 0
    with pytest.raises(CatsDogsError, match="would lose "):
        catsdogs.subset(rows, images=100, seed=1, artifacts=tmp_path)
    done = command("subset", rows, "--images", 100, "--seed", 1, "--artifacts", tmp_path, "--prune", "--json")
    assert json.loads(done.stdout)["images"] == {"cat": 66, "dog": 34}
    assert catsdogs.verify(tmp_path).problems == ()


def test_what_cannot_be_drawn_is_one_line(rows, tmp_path):
    with pytest.raises(OptionError, match="0 images cannot be drawn"):
        catsdogs.subset(rows, images=0, artifacts=tmp_path / "a")
    with pytest.raises(OptionError, match=r"the seed is -1\. Give a seed of at least 0"):
        catsdogs.subset(rows, seed=-1, artifacts=tmp_path / "a")
    with pytest.raises(CatsDogsError, match="has no features"):
        catsdogs.subset(tmp_path / "nothing", artifacts=tmp_path / "a")
    unlabelled = write_rows(tmp_path / "unlabelled", images=20, train=0)
    with pytest.raises(CatsDogsError, match="has no readable training image with a label"):
        catsdogs.subset(unlabelled, artifacts=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_too_few_of_a_class_are_told_before_they_are_refused(rows, tmp_path):
    few = command("subset", rows, "--images", 20, "--artifacts", tmp_path / "a")
    assert (few.returncode, few.stderr) == (
        0,
        "warning: no head can be trained on these images: training images of the class dog in the sample: 7. "
        "Give at least 10 of each class.\n",
    )
    with pytest.raises(CatsDogsError, match="of the class dog: 7"):
        catsdogs.train(tmp_path / "a")
    assert command("subset", rows, "--images", 30, "--artifacts", tmp_path / "b").stderr == ""


def test_pages_say_that_the_location_of_the_images_of_a_sample_is_unknown(rows, tmp_path):
    catsdogs.subset(rows, images=60, artifacts=tmp_path)
    catsdogs.train(tmp_path)
    for page in (catsdogs.report(tmp_path), catsdogs.review(tmp_path)):
        text = page.path.read_text()
        assert "drawn from Parquet, so the location of the image files is unknown" in text
        assert "its location is unknown" in text
        assert "the file is missing" not in text


def test_predict_knows_the_weights_of_a_sample_or_says_which_to_give(
    tiny_backbone, draw, encode, write_folder, tmp_path
):
    data = {f"{kind}.{n}.png": encode(draw(n + 100 * (kind == "dog"))) for kind in ("cat", "dog") for n in range(20)}
    write_folder(tmp_path / "data", data)
    made = {"artifacts": tmp_path / "made", "weights": str(tiny_backbone), "parquet": tmp_path / "rows"}
    catsdogs.extract(tmp_path / "data", **made)
    for folder in ("made", "elsewhere"):
        catsdogs.subset(tmp_path / "rows", artifacts=tmp_path / folder)
        catsdogs.train(tmp_path / folder)
    image = tmp_path / "data/cat.0.png"
    (one,) = catsdogs.predict(image, artifacts=tmp_path / "made")
    with pytest.raises(
        CatsDogsError, match=r"file tiny\.keras \(from .*source\.json\)\. Set --weights to where tiny\.k"
    ):
        catsdogs.predict(image, artifacts=tmp_path / "elsewhere")
    assert catsdogs.predict(image, artifacts=tmp_path / "elsewhere", weights=tiny_backbone) == [one]
