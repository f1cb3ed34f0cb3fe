"""The review page in Chromium: all answers by key and by button, what is saved and downloaded, and how it looks."""

import csv
import io
import json
import re

import pytest
from support.browser import NEEDS_CHROMIUM

import catsdogs

pytestmark = NEEDS_CHROMIUM

NAMES = ("<img src=x onerror=alert(1)>", "<script>alert(1)<", '"quoted", and more')


@pytest.fixture(scope="module")
def queue(tmp_path_factory, draw, encode, write_folder, cache_of):
    """The queue of 200 images, some misclassified and one of these missing; its page is in `queue.path`."""
    images = {f"train/cat.{n}.jpg": encode(draw(n, size=(120, 90)), "JPEG") for n in range(100)}
    images |= {f"train/dog.{n}.jpg": encode(draw(1000 + n, size=(300, 420)), "JPEG") for n in range(100)}
    images |= {f"train/cat.{name}.jpg": encode(draw(2000 + n), "JPEG") for n, name in enumerate(NAMES)}
    data = write_folder(tmp_path_factory.mktemp("data"), images)
    mistaken = {"cat.1", "dog.2", *(f"cat.{name}" for name in NAMES)}
    folder = cache_of(data, tmp_path_factory.mktemp("artifacts"), mistaken)
    catsdogs.train(folder)
    (data / "train/cat.1.jpg").unlink()
    done = catsdogs.review(folder)
    assert {image.id for image in done.queue[:8]} >= mistaken
    return done


@pytest.fixture
def look(browser, queue):
    """Open the page offline; afterwards check that it made no requests, logged no messages and opened no dialogs."""
    messages, requests, contexts = [], [], []

    def open_page(scheme="light", width=1280, before=""):
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 844}, offline=True)
        contexts.append(context)
        context.add_init_script(before)
        page = context.new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("dialog", lambda dialog: (messages.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(queue.path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert messages == []
    urls = {url for url in requests if not url.startswith(("data:", "blob:"))}
    assert urls <= {queue.path.as_uri()}


def shown(page):
    return page.locator("#name").inner_text()


def downloaded(page):
    with page.expect_download() as started:
        page.get_by_role("button", name="Download CSV").click()
    assert started.value.suggested_filename == "review.csv"
    return list(csv.reader(io.StringIO(started.value.path().read_text(), newline="")))


def press(page, keys):
    for key in keys:
        page.keyboard.press(key)


def other(image):
    return {"cat": "dog", "dog": "cat"}[image.label]


def test_each_key_answers_and_the_csv_is_what_correct_takes(look, queue):
    page, (first, second, third, fourth, fifth, *_) = look(), queue.queue
    assert shown(page) == first.id
    press(page, "kods")
    assert shown(page) == fifth.id
    assert page.locator("#count").inner_text() == f"4 of {len(queue.queue)} done"
    press(page, "uu")
    assert shown(page) == third.id
    press(page, "ok")
    rows = [[first.id, "keep"], [second.id, other(second)], [third.id, other(third)], [fourth.id, "keep"]]
    digests = [image.digest for image in queue.queue]
    assert downloaded(page) == [
        ["id", "label", "digest"],
        *([*row, of] for row, of in zip(rows, digests, strict=False)),
    ]


def test_buttons_do_what_the_keys_do(look, queue):
    page, images = look(), queue.queue
    for at, name in enumerate((f"keep {images[0].label}", f"change to {other(images[1])}", "drop", "skip")):
        assert shown(page) == images[at].id
        page.get_by_role("button", name=re.compile(name)).click()
    page.get_by_role("button", name="undo").click()
    assert shown(page) == images[3].id
    assert [row[1] for row in downloaded(page)] == ["label", "keep", other(images[1]), "drop"]


def test_an_image_is_shown_with_label_probability_reasons_facts_and_neighbours(look, queue):
    page = look()
    for image in queue.queue[:6]:
        assert shown(page) == image.id
        own = image.probability if image.label == "dog" else 1 - image.probability
        said = page.locator("#probability").inner_text()
        assert said.startswith(f"probability of {image.label}: ")
        assert float(said.split(": ")[1].rstrip("%")) == pytest.approx(100 * own, abs=0.006)
        assert tuple(page.locator("#why li").all_inner_texts()) == image.why
        assert "pixels" in page.locator("#facts").inner_text()
        assert page.locator("#neighbours bdi").all_inner_texts() == [near.id for near in image.neighbours]
        assert page.locator("#neighbours strong").all_inner_texts() == [near.label for near in image.neighbours]
        if image.id == "cat.1":
            assert page.locator("#picture").inner_text() == "no picture: the file is missing"
            assert page.get_by_role("button", name="zoom").is_disabled()
        else:
            assert page.locator("#picture img").evaluate("image => image.complete && image.naturalWidth > 0")
            inner, outer = (page.locator(name).bounding_box() for name in ("#picture img", "#picture"))
            assert inner["width"] <= outer["width"]
            assert inner["height"] <= outer["height"]  # nothing is cut off
        assert f"{image.id}, labelled {image.label}" in page.locator("[aria-live]").inner_text()
        press(page, "s")


def test_the_picture_is_enlarged_and_keys_answer_nothing_meanwhile(look, queue):
    page = look()
    while "missing" in page.locator("#picture").inner_text():
        press(page, "s")
    before, width = shown(page), page.locator("#picture img").bounding_box()["width"]
    for opened in (lambda: press(page, "z"), lambda: page.locator("#picture img").click()):
        opened()
        assert page.locator("dialog img").bounding_box()["width"] > width
        press(page, "kod")
        press(page, "z")
        assert not page.locator("dialog").is_visible()
        assert shown(page) == before
    press(page, "z")
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()


def test_progress_is_kept_when_the_page_is_opened_again(look, queue):
    page = look()
    press(page, "kod")
    page.reload()
    assert shown(page) == queue.queue[3].id
    assert len(downloaded(page)) == 4
    press(page, "u")
    assert shown(page) == queue.queue[2].id


@pytest.mark.parametrize("damage", ["not JSON", "[[1, 2]]", "7", '[[99999, "keep"]]', '[[0, "keep"], [0, "drop"]]'])
def test_damaged_progress_is_ignored(look, queue, damage):
    page = look()
    press(page, "k")
    page.evaluate("damage => localStorage.setItem(data.key, damage)", damage)
    page.reload()
    assert shown(page) == queue.queue[0].id
    assert not page.locator("#unsaved").is_visible()


def test_it_works_where_the_browser_refuses_storage_and_says_so(look, queue):
    refused = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError') }})"
    page = look(before=refused)
    assert page.locator("#unsaved").is_visible()
    press(page, "ko")
    assert shown(page) == queue.queue[2].id
    assert len(downloaded(page)) == 3


def test_single_keys_can_be_turned_off_and_never_take_those_of_the_browser(look, queue):
    page = look()
    page.keyboard.press("Control+k")
    page.keyboard.press("Alt+d")
    assert shown(page) == queue.queue[0].id
    page.get_by_label("Keyboard shortcuts").uncheck()
    press(page, "kods")
    assert shown(page) == queue.queue[0].id


def test_all_can_be_done_with_the_keyboard_alone(look, queue):
    page = look()
    page.get_by_label("Keyboard shortcuts").uncheck()
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.answer") == "drop":
            break
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    assert [row[1] for row in downloaded(page)] == ["label", "drop", "drop"]


def test_at_the_end_it_counts_and_shows_skipped_images_again(look, queue):
    page, total = look(), len(queue.queue)
    press(page, "sk" * total)
    assert page.locator("#done").is_visible()
    assert not page.locator("#image").is_visible()
    kept, skipped = total // 2, total - total // 2
    assert page.locator("#summary").inner_text() == f"{kept} kept, 0 changed, 0 dropped, {skipped} skipped."
    assert page.evaluate("document.activeElement.id") == "done-title"
    page.get_by_role("button", name="show the skipped images").click()
    assert shown(page) == queue.queue[0].id
    press(page, "d" * skipped + "u")
    assert shown(page) == queue.queue[total - 1 - (total - 1) % 2].id


def test_untrusted_names_are_shown_literally_and_quoted_in_the_csv(look, queue):
    page = look()
    press(page, "d" * 8)
    names = {name for name in (image.id for image in queue.queue) if any(character in name for character in '<"')}
    assert len(names) == len(NAMES)
    assert names <= {row[0] for row in downloaded(page)}
    assert page.locator("script").count() == 2
    assert json.loads(page.locator("#data").text_content())["images"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_no_violations_and_the_page_fits_the_screen(look, queue, scheme, width):
    from axe_playwright_python.sync_playwright import Axe

    page = look(scheme, width)
    for keys in ("", "z", "zk", "s" * len(queue.queue)):
        press(page, keys)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_on_a_phone_the_answers_are_in_view_without_scrolling(look, queue):
    page = look(width=390)
    for name in ("keep", "other", "drop", "skip"):
        box = page.locator(f"[data-answer={name}]").bounding_box()
        assert box["y"] + box["height"] <= 844
        assert box["height"] >= 44
