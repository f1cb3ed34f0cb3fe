import base64
import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from support.report import SHOWN, Page

from catsdogs.head import results
from catsdogs.reporting import galleries, plots
from catsdogs.reporting.findings import Scored
from catsdogs.reporting.page import percent, write_page
from catsdogs.reporting.thumbnails import Thumbnail, Thumbnails


def page_of(findings, thumbnails=None):
    """Return the page of some findings, without pictures unless they are given."""
    shown, pairs = galleries.choose_galleries(findings), galleries.choose_pairs(findings)
    keys = [image.key for gallery in shown.values() for image in gallery.images]
    keys += [image.key for pair in pairs for image in (pair.first, pair.second)]
    thumbnails = thumbnails or Thumbnails(dict.fromkeys(keys, Thumbnail(reason="none here")), ())
    return write_page(findings, shown, pairs, thumbnails=thumbnails, plots=plots.draw_plots(findings))


@given(st.floats(0, 1))
def test_no_probability_is_rounded_to_certainty(probability):
    text = percent(probability)
    assert (text in ("0%", "100%")) == (probability in (0, 1))
    if "<" not in text and ">" not in text:
        assert float(text[:-1]) / 100 == pytest.approx(probability, abs=6e-5)


def test_names_and_reasons_are_text_whatever_is_in_them(reported):
    content = reported.path.read_bytes()
    page = Page(content)
    assert not [attributes for _, attributes in page.elements if any(name.startswith("on") for name in attributes)]
    assert {attributes.get("src", "data:")[:5] for attributes in page.all("img")} == {"data:"}
    assert len(page.all("script")) == 1
    assert "b" not in {tag for tag, _ in page.elements}
    for name in SHOWN:
        assert f"cat.{name}" in page.text
    assert "\u202e" not in content.decode()


def test_nothing_is_allowed_from_outside_and_nothing_within_but_what_is_there(reported):
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


def test_what_train_was_asked_for_besides_is_shown_too(findings):
    names = ("log_loss", "accuracy", "auc", "brier", "calibration_error")
    scores = {name: 0.1 + n for n, name in enumerate(names)}
    scores["intervals"] = results.Intervals(**dict.fromkeys(names, (0.05, 9.0)))
    metrics = structs.replace(
        findings.metrics,
        nested=results.NestedMetrics(**scores, clipped=0.1),
        holdout=results.HoldoutMetrics(**scores | {"log_loss": 0.2}, images=1234, share=0.15),
        learning_curve=tuple(
            results.LearningCurvePoint(images=n, log_loss=100 / n, interval=(90 / n, 110 / n)) for n in (250, 500, 560)
        ),
    )
    page = Page(page_of(replace(findings, metrics=metrics)))
    text = " ".join(page.text.split())
    assert "nested: all chosen without the fold 0.1000 0.0500 to 9.0000 1.1000" in text
    assert "1,234 images held out 0.2000" in text
    (drawn,) = (each["aria-label"] for each in page.all("svg") if each["aria-label"].startswith("Learning curve"))
    assert drawn.endswith("250 images 0.4000; 500 images 0.2000; 560 images 0.1786.")


def test_a_head_that_takes_all_for_one_class_has_a_report_too(findings):
    train = findings.train
    all_cats = Scored("train", train.ids, train.labels, np.full(len(train.ids), -1.0))
    text = Page(page_of(replace(findings, train=all_cats, suspects=(), duplicates=None))).text
    assert "None: no dog is taken for one." in text
    assert "Not looked for yet" in text


def test_labelled_test_images_are_judged(findings):
    test = replace(findings.test, labels=(findings.test.probabilities > 0.4).astype(np.int8))
    scores = {"log_loss": 0.1, "accuracy": 0.9, "auc": None, "brier": 0.1, "calibration_error": 0.1}
    metrics = structs.replace(findings.metrics, test=results.LabelledTestScores(**scores, images=30, unreadable=0))
    page = Page(page_of(replace(findings, test=test, metrics=metrics)))
    assert "They have labels, and were not trained on" in page.text
    assert "30 labelled test images" in page.text


@pytest.mark.parametrize(
    "names",
    [
        ("$x_1$", "<i>"),
        pytest.param(("\U0001f431", "a" * 200), marks=pytest.mark.slow),
        pytest.param(("&lt;", "%s{{ 1 }}"), marks=pytest.mark.slow),
    ],
)
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
