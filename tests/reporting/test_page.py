import base64
import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.report import SHOWN, Page

from catsdogs.head import results
from catsdogs.reporting import galleries, plots
from catsdogs.reporting.findings import Scored
from catsdogs.reporting.page import percent, write_page
from catsdogs.reporting.thumbnails import Thumbnail, Thumbnails


def page_of(findings, thumbnails=None):
    """Return the page of some findings, without thumbnails unless they are given."""
    shown, pairs = galleries.choose_galleries(findings), galleries.choose_pairs(findings)
    keys = [image.key for gallery in shown.values() for image in gallery.images]
    keys += [image.key for pair in pairs for image in (pair.first, pair.second)]
    thumbnails = thumbnails or Thumbnails(dict.fromkeys(keys, Thumbnail(reason="none here")), ())
    return write_page(findings, shown, pairs, unusual={}, thumbnails=thumbnails, plots=plots.draw_plots(findings))


@given(st.floats(0, 1))
def test_percentages_are_0_and_100_only_if_exact(probability):
    text = percent(probability)
    assert (text in ("0%", "100%")) == (probability in (0, 1))
    if "<" not in text and ">" not in text:
        assert float(text[:-1]) / 100 == pytest.approx(probability, abs=6e-5)


def test_untrusted_names_and_reasons_are_escaped(reported):
    content = reported.path.read_bytes()
    page = Page(content)
    assert not [attributes for _, attributes in page.elements if any(name.startswith("on") for name in attributes)]
    assert {attributes.get("src", "data:")[:5] for attributes in page.all("img")} == {"data:"}
    assert len(page.all("script")) == 1
    assert "b" not in {tag for tag, _ in page.elements}
    for name in SHOWN:
        assert f"cat.{name}" in page.text
    assert "\u202e" not in content.decode()


def test_the_policy_allows_only_the_style_script_and_images_of_the_page(reported):
    content = reported.path.read_text()
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


def test_optional_studies_of_train_are_shown(findings):
    names = ("log_loss", "accuracy", "auc", "brier", "calibration_error")
    scores = {name: 0.1 + n for n, name in enumerate(names)}
    scores["intervals"] = results.Intervals(**dict.fromkeys(names, (0.05, 9.0)))
    metrics = replace(
        findings.metrics,
        nested=results.NestedMetrics(**scores, clipped=0.1),
        holdout=results.HoldoutMetrics(**scores | {"log_loss": 0.2}, images=1234, fraction=0.15),
        learning_curve=tuple(
            results.LearningCurvePoint(images=n, log_loss=100 / n, interval=(90 / n, 110 / n)) for n in (250, 500, 560)
        ),
    )
    page = Page(page_of(replace(findings, metrics=metrics)))
    text = " ".join(page.text.split())
    assert "nested cross-validation 0.1000 0.0500 to 9.0000 1.1000" in text
    assert "hold-out set of 1,234 images 0.2000" in text
    (drawn,) = (each["aria-label"] for each in page.all("svg") if each["aria-label"].startswith("Learning curve"))
    assert drawn.endswith("0.4000 with 250 images; 0.2000 with 500 images; 0.1786 with 560 images.")


def test_a_head_that_predicts_one_class_only_has_a_report(findings):
    train = findings.train
    all_cats = Scored("train", train.ids, train.labels, np.full(len(train.ids), -1.0))
    text = Page(page_of(replace(findings, train=all_cats, suspects=(), duplicates=None))).text
    assert "None. No dog image is classified correctly." in text
    assert "Not searched for yet" in text


def test_metrics_of_labelled_test_images_are_shown(findings):
    test = replace(findings.test, labels=(findings.test.probabilities > 0.4).astype(np.int8))
    scores = {"log_loss": 0.1, "accuracy": 0.9, "auc": None, "brier": 0.1, "calibration_error": 0.1}
    metrics = replace(findings.metrics, test=results.LabelledTestScores(**scores, images=30, unreadable=0))
    page = Page(page_of(replace(findings, test=test, metrics=metrics)))
    assert "The images have labels and were not used for training" in page.text
    assert "30 labelled test images" in page.text


@pytest.mark.parametrize(
    "names",
    [
        ("$x_1$", "<i>"),
        pytest.param(("\U0001f431", "a" * 200), marks=pytest.mark.slow),
        pytest.param(("&lt;", "%s{{ 1 }}"), marks=pytest.mark.slow),
    ],
)
def test_class_names_are_shown_literally(findings, names):
    page = Page(page_of(replace(findings, classes=names)))
    assert all(name in page.text for name in names)
    assert page.text.count("{{ 1 }}") == page.text.count("%s{{")


def test_long_lists_of_unreadable_images_are_truncated(findings):
    reasons = {f"cat.{n}": "the file is empty" for n in range(1234)}
    content = page_of(replace(findings, unreadable={"train": reasons}))
    text = " ".join(Page(content).text.split())
    assert "1,234 images could not be read" in text
    assert "the full list is in features/train/unreadable.csv" in text
    assert content.count(b"the file is empty") == 200
