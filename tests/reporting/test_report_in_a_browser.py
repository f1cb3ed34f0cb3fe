"""The report in Chromium: light and dark colour schemes, a phone's width, and print."""

import csv
import os
import re

import joblib
import numpy as np
import pytest
from PIL import Image
from support.browser import NEEDS_CHROMIUM

import catsdogs

pytestmark = NEEDS_CHROMIUM

NAMES = (
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)<",
    "\"'><b>&amp;",
    "new\nline",
    "\U0001f408",
    "\u202egnp.tac",
)
SCHEMES = [(scheme, width) for scheme in ("light", "dark") for width in (1280, 390)]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory, draw, encode, write_folder, cache_of):
    """A report on 240 training images, some misclassified, unreadable, duplicate or missing, and on 30 test images."""
    images = {f"train/cat.{n}.jpg": encode(draw(n, size=(120, 90)), "JPEG") for n in range(120)}
    images |= {f"train/dog.{n}.jpg": encode(draw(1000 + n, size=(90, 120)), "JPEG") for n in range(120)}
    images |= {f"train/cat.{name}.jpg": encode(draw(2000 + n), "JPEG") for n, name in enumerate(NAMES)}
    images |= {f"train/dog.{name}.jpg": b"no image" for name in NAMES}
    images |= {f"test/{n}.jpg": encode(draw(3000 + n), "JPEG") for n in range(30)} | {"test/30.jpg": b""}
    images |= {"train/cat." + os.fsdecode(b"\xff\xfe") + ".jpg": encode(draw(4000), "JPEG")}
    images |= {"train/dog.4.jpg": images["train/cat.4.jpg"]}
    data = write_folder(tmp_path_factory.mktemp("data"), images)
    mistaken = {f"cat.{name}" for name in (*NAMES[:3], r"new\x0aline", "\U0001f408", r"\xe2\x80\xaegnp.tac")}
    folder = cache_of(data, tmp_path_factory.mktemp("artifacts"), mistaken)
    catsdogs.train(folder, studies=("learning_curve",))
    catsdogs.submit(folder)
    (data / "train/cat.\U0001f408.jpg").unlink()
    assert catsdogs.report(folder).missing == 1
    return folder


@pytest.fixture
def look(browser, artifacts):
    """Open the report offline; afterwards check that it made no requests, logged no messages and opened no dialogs."""
    messages, requests, contexts = [], [], []

    def open_page(scheme="light", width=1280):
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("dialog", lambda dialog: (messages.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: requests.append(request.url))
        page.goto((artifacts / "report.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert messages == []
    assert {url for url in requests if not url.startswith("data:")} <= {(artifacts / "report.html").as_uri()}


def gallery(page, name):
    """Return the ids and the probabilities of class 1 in a gallery."""
    tiles = page.locator(f"#{name} .tile")
    ids = tiles.locator(".id").all_inner_texts()
    return ids, [float(each.get_attribute("value")) for each in tiles.locator("data").all()]


@pytest.mark.parametrize(("scheme", "width"), SCHEMES)
def test_axe_finds_no_violations_and_the_page_fits_the_screen(look, scheme, width):
    from axe_playwright_python.sync_playwright import Axe

    page = look(scheme, width)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_axe_finds_violations_if_there_are_any(look):
    from axe_playwright_python.sync_playwright import Axe

    page = look()
    page.evaluate("document.querySelector('.tile img').removeAttribute('alt'); document.documentElement.lang = ''")
    page.evaluate("document.querySelector('button.thumbnail').removeAttribute('aria-label')")
    assert {each["id"] for each in Axe().run(page).response["violations"]} >= {"html-has-lang", "image-alt"}


def test_every_image_loads_and_has_an_alternative_text(look):
    page = look()
    images = page.evaluate("[...document.images].map(image => [image.complete, image.naturalWidth, image.alt])")
    assert len(images) > 60
    assert all(complete and width > 0 and alt for complete, width, alt in images)
    assert page.locator("svg[role=img][aria-label]").count() == page.locator("svg").count() == 6


def test_the_galleries_follow_the_result_files(look, artifacts):
    page = look()
    with (artifacts / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    ids = np.array([row["id"] for row in rows])
    labels, probabilities = (np.array([float(row[name]) for row in rows]) for name in ("label", "probability"))
    own = np.where(labels == 1, probabilities, 1 - probabilities)
    right = own > 0.5
    orders = {
        "wrong": np.argsort(np.where(right, np.inf, own))[: min(24, int((~right).sum()))],
        "uncertain": np.argsort(np.abs(probabilities - 0.5))[:16],
        "right_0": np.argsort(np.where(labels == 0, -own, np.inf))[:8],
        "right_1": np.argsort(np.where(labels == 1, -own, np.inf))[:8],
    }
    for name, rows_of in orders.items():
        assert gallery(page, name) == (ids[rows_of].tolist(), probabilities[rows_of].tolist()), name
    for name, of_kind in (("random_wrong", ~right), ("random_right", right)):
        assert set(gallery(page, name)[0]) <= set(ids[of_kind])
    with (artifacts / "suspects.csv").open(newline="") as file:
        assert gallery(page, "suspects")[0] == [row["id"] for row in csv.DictReader(file)][:16]
    pairs = np.load(artifacts / "features/duplicates.npy")
    assert set(gallery(page, "pairs")[0]) == {*pairs["id"], *pairs["other_id"]} == {"cat.4", "dog.4"}
    test = catsdogs.load_features(artifacts, split="test")
    scores = joblib.load(artifacts / "head.joblib").predict_proba(np.nan_to_num(test.features))[:, 1]
    nearest = np.argsort(np.where(test.readable, np.abs(scores - 0.5), np.inf))[:16]
    found, shown = gallery(page, "test")
    assert found == test.ids[nearest].tolist()
    np.testing.assert_allclose(shown, scores[nearest], atol=1e-5)
    cells = page.locator(".confusion td strong").all_inner_texts()
    taken = probabilities > 0.5
    assert [int(cell) for cell in cells] == [int(np.sum((labels == a) & (taken == b))) for a in (0, 1) for b in (0, 1)]


def test_untrusted_names_are_shown_literally(look):
    page = look()
    for name in NAMES[:3]:
        assert page.locator("#wrong .id", has_text=name).count() == 1
    listed = page.locator("#unreadable-train tbody th").all_inner_texts()
    assert len(listed) == len(NAMES)
    assert {"dog.<script>alert(1)<", r"dog.new\x0aline", r"dog.\xe2\x80\xaegnp.tac"} <= set(listed)
    assert page.locator("#unreadable-test").inner_text().endswith("the file is empty")
    assert page.locator(".thumbnail.none").all_inner_texts()[0] == "no thumbnail: the file is missing"
    assert page.locator("script").count() == 1


def test_a_thumbnail_is_enlarged_by_mouse_and_by_keyboard(look):
    page = look()
    first = page.locator("button.thumbnail").first
    box = first.bounding_box()
    first.click()
    assert page.locator("dialog").is_visible()
    large = page.locator("dialog img")
    assert large.bounding_box()["width"] > 2 * box["width"]
    assert large.evaluate("image => image.naturalWidth") > 0
    page.locator("dialog button").click()
    assert not page.locator("dialog").is_visible()
    page.reload()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('button.thumbnail')"):
            break
    page.keyboard.press("Enter")
    source = page.locator("dialog img").get_attribute("src")
    assert source == first.locator("img").get_attribute("src")
    page.keyboard.press("ArrowRight")
    assert page.locator("dialog img").get_attribute("src") != source
    assert page.locator("#enlarged").inner_text().startswith("cat.")
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    assert page.evaluate("document.activeElement.matches('button.thumbnail')")


def test_axe_finds_no_violations_in_the_enlarged_view(look):
    from axe_playwright_python.sync_playwright import Axe

    page = look("dark", 390)
    page.locator("button.thumbnail").first.click()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_plots_have_contrast_in_light_dark_and_print(look, tmp_path):
    for scheme, media in (("light", "screen"), ("dark", "screen"), ("dark", "print")):
        page = look(scheme)
        page.emulate_media(media=media)
        for name in ("histogram", "reliability", "roc", "path", "learning_curve", "test"):
            path = tmp_path / f"{scheme}-{media}-{name}.png"
            page.locator(f"#plot-{name} svg").screenshot(path=path)
            pixels = np.asarray(Image.open(path).convert("L"), float)
            paper = np.median(pixels)
            strongest = np.abs(pixels - paper).max()
            assert (paper < 60) == (scheme == "dark" and media == "screen"), path.name
            assert strongest > 120, path.name


def test_it_prints(look):
    page = look()
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    printed = page.pdf(format="A4")
    pages = len(re.findall(rb"/Type\s*/Page[^s]", printed))
    assert 4 <= pages <= 16
