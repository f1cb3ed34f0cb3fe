"""Make artifacts to report on, and look at the page."""

import os
from html.parser import HTMLParser

import catsdogs

ODD = ("<img src=x onerror=alert(1)>", "\"'&amp;", "new\nline", "\U0001f408", "\u202egnp.tac", os.fsdecode(b"\xff\xfe"))
SHOWN = (*ODD[:2], r"new\x0aline", ODD[3], r"\xe2\x80\xaegnp.tac", r"\xff\xfe")
"""How such names are shown."""


def make_artifacts(folder, draw, encode, write_folder, cache_of):
    """Write data/ and, of that, artifacts/ with a head, into a folder, and return it.

    There are 150 training images and those of odd names, which are mistaken, and 30 test images. One is unreadable, and
    one is there twice.
    """
    images = {f"train/cat.{n}.jpg": encode(draw(n), "JPEG") for n in range(75)}
    images |= {f"train/dog.{n}.jpg": encode(draw(1000 + n), "JPEG") for n in range(75)}
    images |= {f"train/cat.{name}.jpg": encode(draw(2000 + n), "JPEG") for n, name in enumerate(ODD)}
    images |= {f"test/{n}.jpg": encode(draw(3000 + n), "JPEG") for n in range(30)}
    images |= {"train/dog.3.jpg": b"<b>no image</b>", "train/dog.4.jpg": images["train/cat.4.jpg"]}
    data = write_folder(folder / "data", images)
    catsdogs.train(cache_of(data, folder / "artifacts", {f"cat.{name}" for name in SHOWN}))
    return folder


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
