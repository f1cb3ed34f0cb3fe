import base64
import csv
import hashlib
import io
import json
import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import catsdogs
from catsdogs import CatsDogsError
from catsdogs.cli.summaries import report_lines
from catsdogs.head.metrics import wilson
from catsdogs.reporting import galleries, plots
from catsdogs.reporting.findings import Scored, gather
from catsdogs.reporting.page import percent, write_page
from catsdogs.reporting.thumbnails import Thumbnail, Thumbnails, cut_thumbnails

ODD = ("<img src=x onerror=alert(1)>", "\"'&amp;", "new\nline", "\U0001f408", "\u202egnp.tac", os.fsdecode(b"\xff\xfe"))


class Page(HTMLParser):
    """What a page holds: texts, and elements with their attributes."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(page.decode())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def data(tmp_path_factory, draw, encode, write_folder):
    """300 training images, some oddly named, one unreadable, one of them twice; and 30 test images."""
    images = {f"train/cat.{n}.jpg": encode(draw(n), "JPEG") for n in range(150)}
    images |= {f"train/dog.{n}.jpg": encode(draw(1000 + n), "JPEG") for n in range(150)}
    images |= {f"train/cat.{name}.jpg": encode(draw(2000 + n), "JPEG") for n, name in enumerate(ODD)}
    images |= {f"test/{n}.jpg": encode(draw(3000 + n), "JPEG") for n in range(30)}
    images |= {"train/dog.3.jpg": b"<b>no image</b>", "train/dog.4.jpg": images["train/cat.4.jpg"]}
    return write_folder(tmp_path_factory.mktemp("data"), images)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory, data, cache_of):
    names = {f"cat.{name}" for name in ("<img src=x onerror=alert(1)>", "\"'&amp;", r"new\x0aline", "\U0001f408")}
    folder = cache_of(data, tmp_path_factory.mktemp("artifacts"), names | {r"cat.\xff\xfe", r"cat.\xe2\x80\xaegnp.tac"})
    catsdogs.train(folder)
    return folder


@pytest.fixture(scope="module")
def findings(artifacts):
    return gather(artifacts)


@pytest.fixture
def copy(artifacts, tmp_path):
    return shutil.copytree(artifacts, tmp_path / "copy")


def page_of(findings, thumbnails=None):
    """Return the page of some findings, without pictures unless they are given."""
    shown, pairs = galleries.choose_galleries(findings), galleries.choose_pairs(findings)
    keys = [image.key for gallery in shown.values() for image in gallery.images]
    keys += [image.key for pair in pairs for image in (pair.first, pair.second)]
    thumbnails = thumbnails or Thumbnails(dict.fromkeys(keys, Thumbnail(reason="none here")), ())
    return write_page(findings, shown, pairs, thumbnails=thumbnails, plots=plots.draw_plots(findings))


def test_the_galleries_hold_what_the_predictions_say(artifacts, findings):
    with (artifacts / "predictions.csv").open(newline="") as file:
        rows = [(row["id"], int(row["label"]), float(row["probability"])) for row in csv.DictReader(file)]
    wrong = [row for row in rows if (row[2] > 0.5) != row[1]]
    right = [row for row in rows if (row[2] > 0.5) == row[1]]
    shown = galleries.choose_galleries(findings)
    assert len(wrong) >= len(ODD)
    expected = {
        "wrong": sorted(wrong, key=lambda row: abs(row[1] - row[2]), reverse=True),
        "uncertain": sorted(rows, key=lambda row: abs(row[2] - 0.5)),
        "right_0": sorted((row for row in right if row[1] == 0), key=lambda row: row[2]),
        "right_1": sorted((row for row in right if row[1] == 1), key=lambda row: -row[2]),
    }
    for name, of_kind in expected.items():
        found = shown[name]
        assert found.total == len(of_kind)
        assert [(image.id, image.label, image.probability) for image in found.images] == of_kind[: len(found.images)]
    above = {row[0] for name in expected for row in expected[name][: len(shown[name].images)]}
    for name, of_kind in (("random_wrong", wrong), ("random_right", right)):
        others = {row[0] for row in of_kind} - above
        assert shown[name].total == len(others)
        assert {image.id for image in shown[name].images} <= others
    with (artifacts / "suspects.csv").open(newline="") as file:
        assert [image.id for image in shown["suspects"].images] == [row["id"] for row in csv.DictReader(file)][:16]


def test_the_test_images_are_scored_by_the_head_and_the_most_uncertain_shown(artifacts, findings):
    import joblib

    test = catsdogs.load_features(artifacts, "test")
    probabilities = joblib.load(artifacts / "head.joblib").predict_proba(test.features)[:, 1]
    np.testing.assert_allclose(findings.test.probabilities, probabilities, atol=1e-5)
    shown = galleries.choose_galleries(findings)["test"]
    order = np.argsort(np.abs(probabilities - 0.5))
    assert [image.id for image in shown.images] == test.ids[order[: len(shown.images)]].tolist()
    assert (len(shown.images), shown.total) == (16, 30)


def test_pairs_across_classes_come_first(findings):
    pairs = np.array(
        [
            ("train", "cat.1", 0, "train", "cat.2", 0, 1.0),
            ("test", "1", -1, "train", "cat.3", 0, 0.9),
            ("train", "cat.5", 0, "train", "dog.5", 1, 0.8),
        ],
        findings.pairs.dtype,
    )
    chosen = galleries.choose_pairs(replace(findings, pairs=pairs))
    assert [pair.first.id for pair in chosen] == ["cat.5", "1", "cat.1"]
    (real,) = galleries.choose_pairs(findings)
    assert (real.first.id, real.second.id, real.similarity) == ("cat.4", "dog.4", 1)


def test_intervals_of_shares_are_those_of_scipy():
    from scipy.stats import binomtest

    for hits, n in ((0, 1), (3, 3), (7, 20), (500, 1000)):
        expected = binomtest(hits, n).proportion_ci(0.95, "wilson")
        np.testing.assert_allclose(
            wilson(np.array([hits]), np.array([n])), [[expected.low], [expected.high]], atol=1e-6
        )


def test_the_roc_curve_has_the_area_that_the_metrics_say(findings):
    false, true = plots.roc(findings.train.labels, findings.train.probabilities)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(findings.metrics["auc"])
    tied = plots.roc(np.array([0, 1, 0, 1], np.int8), np.array([0.2, 0.2, 0.2, 0.9]))
    np.testing.assert_array_equal(tied, [[0, 0, 1], [0, 0.5, 1]])


@given(st.floats(0, 1))
def test_no_probability_is_rounded_to_certainty(probability):
    text = percent(probability)
    assert (text in ("0%", "100%")) == (probability in (0, 1))
    if "<" not in text and ">" not in text:
        assert float(text[:-1]) / 100 == pytest.approx(probability, abs=6e-5)


def test_the_page_is_the_same_each_time_and_from_a_folder_as_from_a_zip(artifacts, copy, data, zipped, tmp_path):
    first = catsdogs.report(copy).path.read_bytes()
    assert catsdogs.report(copy).path.read_bytes() == first
    files = {os.fsencode(path.relative_to(data)).decode("utf-8", "replace"): path for path in data.rglob("*.jpg")}
    (tmp_path / "all.zip").write_bytes(zipped({name: path.read_bytes() for name, path in files.items()}))
    notes = dict.fromkeys(("train", "test"), str(tmp_path / "all.zip"))
    (copy / "source.json").write_text(json.dumps(notes))
    from_zip = catsdogs.report(copy)
    assert from_zip.missing <= 1  # that name is no UTF-8, and so is another one here
    images = [attributes["src"] for attributes in Page(first).all("img")]
    assert {attributes["src"] for attributes in Page(from_zip.path.read_bytes()).all("img")} <= set(images)


def test_every_picture_that_is_shown_is_the_image_itself_in_its_proportions(copy, data):
    done = catsdogs.report(copy)
    page = Page(done.path.read_bytes())
    images = page.all("img")
    assert (done.missing, done.problems) == (0, ())
    assert len({attributes["src"] for attributes in images}) == done.pictures - 1  # cat.4 is dog.4
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
        self.classes, self.source, self.imported = features.classes, source, False
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


def test_the_terminal_says_what_was_written_and_what_is_missing_within_80_columns(tmp_path):
    done = catsdogs.Report(tmp_path / "report.html", 1_234_567, 86, 1, ("there is no data",), 12.3)
    lines = list(report_lines(done, tmp_path))
    assert [name for name, _ in lines] == ["report", "", "", "look at", "next"]
    assert lines[0][1] == "one page with 86 pictures, 1.2 MB, in 12.3 s"
    assert lines[1][1].startswith("1 image WITHOUT a picture")
    assert lines[2][1] == "there is no data"
    assert all(len(text) <= 68 for _, text in lines if str(tmp_path) not in text)


def test_names_and_reasons_are_text_whatever_is_in_them(copy):
    content = catsdogs.report(copy).path.read_bytes()
    page = Page(content)
    assert not [attributes for _, attributes in page.elements if any(name.startswith("on") for name in attributes)]
    assert {attributes.get("src", "data:")[:5] for attributes in page.all("img")} == {"data:"}
    assert len(page.all("script")) == 1
    assert "b" not in {tag for tag, _ in page.elements}
    for name in (
        "<img src=x onerror=alert(1)>",
        "\"'&amp;",
        r"new\x0aline",
        "\U0001f408",
        r"\xff\xfe",
        r"\xe2\x80\xaegnp.tac",
    ):
        assert f"cat.{name}" in page.text
    assert "\u202e" not in content.decode()


def test_nothing_is_allowed_from_outside_and_nothing_within_but_what_is_there(copy):
    content = catsdogs.report(copy).path.read_bytes().decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', content)[1].replace("&#39;", "'")
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", content, re.DOTALL)
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"
    assert not re.search(r'\sstyle="', content)
    page = Page(content.encode())
    assert {attributes["src"][:16] for _, attributes in page.elements if "src" in attributes} == {"data:image/webp;"}
    assert {attributes["href"][0] for _, attributes in page.elements if "href" in attributes} == {"#"}
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", content)


def test_images_that_are_gone_or_changed_or_broken_are_named_and_the_rest_is_shown(copy, data, tmp_path, encode, draw):
    moved = shutil.copytree(data, tmp_path / "moved")
    (copy / "source.json").write_text(json.dumps(dict.fromkeys(("train", "test"), str(moved))))
    shown = galleries.choose_galleries(gather(copy))
    gone, changed = (image.id for image in shown["right_0"].images[:2])
    (moved / f"train/{gone}.jpg").unlink()
    (moved / f"train/{changed}.jpg").write_bytes(encode(draw(9), "JPEG"))
    done = catsdogs.report(copy)
    page = Page(done.path.read_bytes())
    assert (done.missing, done.problems) == (2, ())
    assert "no picture: it is not there any more" in page.text
    assert "no picture: its file has changed since" in page.text
    assert gone in page.text
    shutil.rmtree(moved)
    done = catsdogs.report(copy)
    assert (done.pictures, done.problems) == (0, (f"there is no {moved}",))
    page = Page(done.path.read_bytes())
    assert f"there is no {moved}." in page.text
    assert page.all("img") == []
    assert f"{json.loads((copy / 'metrics.json').read_text())['log_loss']:.4f}" in page.text


def test_of_imported_features_all_is_shown_but_the_pictures(tmp_path):
    labels = np.arange(60) % 2
    values = np.random.default_rng(0).random((60, 2048)).astype(np.float32) + labels[:, np.newaxis]
    catsdogs.import_features([f"<{n}>" for n in range(60)], labels, {"224": values}, artifacts=tmp_path)
    catsdogs.train(tmp_path)
    done = catsdogs.report(tmp_path)
    page = Page(done.path.read_bytes())
    assert done.pictures == 0
    for said in (
        "The features were imported",
        "None: every training image is taken for what its label says.",
        "None: no label looks wrong.",
        "None: no two images are the same, or nearly so.",
        "None: every training image could be read.",
        "There is no test split.",
        "Not measured yet.",
    ):
        assert said in page.text


def test_what_train_was_asked_for_besides_is_shown_too(findings):
    names = ("log_loss", "accuracy", "auc", "brier", "calibration_error")
    scores = {name: 0.1 + n for n, name in enumerate(names)} | {"intervals": {name: [0.05, 9] for name in names}}
    curve = [{"images": n, "log_loss": 100 / n, "interval": [90 / n, 110 / n]} for n in (250, 500, 560)]
    extra = {"nested": scores, "holdout": scores | {"log_loss": 0.2, "images": 1234}, "learning_curve": curve}
    page = Page(page_of(replace(findings, metrics=findings.metrics | extra)))
    text = " ".join(page.text.split())
    assert "nested: all chosen without the fold 0.1000 0.0500 to 9.0000 1.1000" in text
    assert "1,234 images held out 0.2000" in text
    (drawn,) = (each["aria-label"] for each in page.all("svg") if each["aria-label"].startswith("Learning curve"))
    assert drawn.endswith("250 images 0.4000; 500 images 0.2000; 560 images 0.1786.")


def test_a_head_that_takes_all_for_one_class_has_a_report_too(findings):
    train = findings.train
    all_cats = Scored("train", train.ids, train.labels, np.full(len(train.ids), 0.25))
    text = Page(page_of(replace(findings, train=all_cats, suspects=(), pairs=None))).text
    assert "None: no dog is taken for one." in text
    assert "Not looked for yet" in text


def test_labelled_test_images_are_judged(findings):
    test = replace(findings.test, labels=(findings.test.probabilities > 0.4).astype(np.int8))
    scores = {"log_loss": 0.1, "accuracy": 0.9, "auc": None, "brier": 0.1, "calibration_error": 0.1, "images": 30}
    page = Page(page_of(replace(findings, test=test, metrics=findings.metrics | {"test": scores})))
    assert "They have labels, and were not trained on" in page.text
    assert "30 labelled test images" in page.text


@pytest.mark.parametrize("names", [("$x_1$", "<i>"), ("\U0001f431", "a" * 200), ("&lt;", "%s{{ 1 }}")])
def test_classes_of_any_name_are_shown_as_they_are(findings, names):
    page = Page(page_of(replace(findings, classes=names)))
    assert all(name in page.text for name in names)
    assert page.text.count("{{ 1 }}") == page.text.count("%s{{")


def test_long_lists_of_unreadable_images_are_cut(findings):
    reasons = {f"cat.{n}": "the file is empty" for n in range(1234)}
    content = page_of(replace(findings, unreadable={"train": reasons}))
    text = " ".join(Page(content).text.split())
    assert "1,234 images could not be read" in text
    assert "all are in features/train/unreadable.csv" in text
    assert content.count(b"the file is empty") == 200


def test_a_head_of_other_features_is_refused_and_the_report_stays(copy, data, cache_of, tmp_path):
    before = catsdogs.report(copy).path.read_bytes()
    fewer = shutil.copytree(data, tmp_path / "fewer")
    (fewer / "train/cat.7.jpg").unlink()
    shutil.rmtree(copy / "features")
    cache_of(fewer, copy)
    with pytest.raises(CatsDogsError, match=r"the head is not of the features as they are now\. Run catsdogs train"):
        catsdogs.report(copy)
    assert (copy / "report.html").read_bytes() == before


def test_damage_is_said_and_nothing_is_shown_of_it(copy):
    (copy / "predictions.csv").write_text("id,label,probability,fold\ncat.1,0,0.1,0\n")
    with pytest.raises(CatsDogsError, match=r"predictions\.csv is missing, or was changed"):
        catsdogs.report(copy)
    assert not (copy / "report.html").exists()


def test_it_waits_for_nobody_who_is_writing(copy):
    from filelock import FileLock

    with (
        FileLock(copy.resolve() / ".lock", is_singleton=False),
        pytest.raises(CatsDogsError, match="is being written by another run"),
    ):
        catsdogs.report(copy)
    assert not (copy / "report.html").exists()
