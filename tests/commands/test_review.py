import json
import re
import shutil

import numpy as np
import pytest
from support.program import command
from support.report import SHOWN, Page

import catsdogs
from catsdogs import CatsDogsError
from catsdogs.storage import to_csv


@pytest.fixture
def copy(reportable, tmp_path):
    return shutil.copytree(reportable / "artifacts", tmp_path / "copy")


def content_of(path):
    """Return what the page's script reads."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    return json.loads(found[1])


def test_json_is_the_queue_that_the_page_shows(copy):
    printed = command("review", "--json", "--artifacts", copy)
    queue = json.loads(printed.stdout)
    assert printed.returncode == 0
    assert [set(image) for image in queue] == [{"id", "digest", "label", "probability", "why", "neighbours"}] * len(
        queue
    )
    content = content_of(copy / "review.html")
    assert [image["id"] for image in content["images"]] == [image["id"] for image in queue]
    assert {image["id"] for image in queue[:12]} >= {f"cat.{name}" for name in SHOWN}
    done = catsdogs.review(copy)
    assert [image.to_dict() for image in done.queue] == queue
    assert done.size == done.path.stat().st_size


def test_each_picture_is_embedded_once_and_the_asked_ones_are_larger(
    copy, reportable, draw, encode, tmp_path, cache_of
):
    data = shutil.copytree(reportable / "data", tmp_path / "data")
    for number in range(75):
        for at, kind in enumerate(("cat", "dog")):
            (data / f"train/{kind}.{number}.jpg").write_bytes(encode(draw(number + 100 * at, size=(600, 400)), "JPEG"))
    folder = cache_of(data, tmp_path / "large", {f"cat.{n}" for n in range(9)})
    catsdogs.train(folder)
    done = catsdogs.review(folder)
    content = content_of(done.path)
    asked = {image.id for image in done.queue}
    near = {other.id for image in done.queue for other in image.neighbours}
    assert content["pictures"].keys() == asked | near
    widths = {name: picture["width"] for name, picture in content["pictures"].items() if "width" in picture}
    assert {widths[f"cat.{n}"] for n in range(9)} == {480}
    assert {widths[name] for name in near - asked if name[-1].isdigit()} <= {112}
    sources = [picture["src"] for picture in content["pictures"].values() if "src" in picture]
    page = done.path.read_text()
    assert all(page.count(source) == 1 for source in set(sources))


def test_the_page_is_the_same_each_time_and_its_policy_is_that_of_the_report(copy):
    first = catsdogs.review(copy).path.read_bytes()
    assert catsdogs.review(copy).path.read_bytes() == first
    catsdogs.report(copy)
    policies = [
        re.sub(r"'sha256-[^']+'", "", attributes["content"])
        for page in ("review.html", "report.html")
        for attributes in Page((copy / page).read_bytes()).all("meta")
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert len(policies) == 2
    assert policies[0] == policies[1]


def test_images_that_are_gone_are_named_with_the_reason(copy, reportable, tmp_path):
    moved = shutil.copytree(reportable / "data", tmp_path / "moved")
    (copy / "source.json").write_text(json.dumps(dict.fromkeys(("train", "test"), str(moved))))
    first = catsdogs.review(copy).queue[0]
    (moved / f"train/{first.id}.jpg").unlink(missing_ok=True)
    shutil.rmtree(moved)
    done = catsdogs.review(copy)
    assert done.problems == (f"{moved} does not exist",)
    assert content_of(done.path)["pictures"][first.id] == {"reason": "the file is missing"}
    assert f"{moved} does not exist." in Page(done.path.read_bytes()).text


def test_imported_features_are_reviewed_without_pictures(tmp_path):
    labels = np.arange(60) % 2
    values = np.random.default_rng(0).normal(size=(60, 2048)).astype(np.float32) + labels[:, np.newaxis]
    catsdogs.import_features([f"<{n}>" for n in range(60)], labels, views={"224": values}, artifacts=tmp_path)
    catsdogs.train(tmp_path)
    done = catsdogs.review(tmp_path)
    assert "The features were imported" in Page(done.path.read_bytes()).text
    assert [why.split(":")[0] for image in done.queue for why in image.why] == ["farthest from all others"] * 5


def test_a_stale_head_is_refused_and_the_page_stays(copy):
    before = catsdogs.review(copy).path.read_bytes()
    (copy / "predictions.csv").write_text("id,label,probability,fold\n")
    with pytest.raises(CatsDogsError, match=r"predictions\.csv is missing, or was changed"):
        catsdogs.review(copy)
    assert (copy / "review.html").read_bytes() == before


def test_what_was_judged_is_not_asked_again_and_neighbours_have_the_corrected_label(copy, tmp_path):
    queue = catsdogs.review(copy).queue
    verdicts = tmp_path / "review.csv"
    other = {"cat": "dog", "dog": "cat"}[queue[0].label]
    rows = [(image.id, label, image.digest) for image, label in zip(queue, (other, "keep", "drop"), strict=False)]
    verdicts.write_bytes(to_csv(("id", "label", "digest"), rows))
    catsdogs.correct(verdicts, artifacts=copy)
    catsdogs.train(copy)
    after = catsdogs.review(copy).queue
    assert not {image.id for image in queue[:3]} & {image.id for image in after}
    near = {other.id: other.label for image in after for other in image.neighbours}
    labels = {other.id: other.label for other in catsdogs.similar(queue[3].id, artifacts=copy, count=1000)}
    assert labels[queue[0].id] == other
    assert all(labels.get(name, label) == label for name, label in near.items())
