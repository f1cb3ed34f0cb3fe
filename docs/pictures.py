"""Take the screenshots of the report for the documentation, on synthetic images with a few swapped labels.

    uv run docs/pictures.py --weights FILE.keras

Needs Chromium (Debian: apt-get install chromium) and writes docs/report-*.webp.
"""

import argparse
import io
import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

import catsdogs
from catsdogs.sample import write_sample

HERE = Path(__file__).parent

TRAIN, TEST, SWAPPED, SEED = 1000, 60, 6, 0
"""Numbers of images, number of cats and dogs with swapped labels, and the seed that selects them."""

WIDTH = 1200


def main() -> None:
    """Draw, train, report, and take screenshots in both colour schemes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="as for catsdogs run")
    given = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("error: Chromium is missing. Install it with apt-get install chromium.")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        data, artifacts = Path(folder, "data"), Path(folder, "artifacts")
        swapped = draw_data(data)
        done = catsdogs.run(data, artifacts=artifacts, weights=given.weights)
        catsdogs.train(artifacts, studies=("learning_curve",))
        report = catsdogs.report(artifacts)
        print(f"log loss {done.metrics.log_loss:.4f}; labels swapped: {', '.join(swapped)}")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = browser.new_page(color_scheme=scheme, viewport={"width": WIDTH, "height": 900})
            page.goto(report.path.resolve().as_uri())
            take(page, 0, "#plot-histogram", f"report-{scheme}")
            take(page, "#wrong", "#wrong", f"report-wrong-{scheme}")
        browser.close()


def draw_data(data: Path) -> list[str]:
    """Write a folder of synthetic images, some with swapped labels, and return the ids of these."""
    write_sample(data / "sample.zip", train=TRAIN, test=TEST)
    with zipfile.ZipFile(data / "sample.zip") as outer:
        for split in ("train", "test"):
            with zipfile.ZipFile(io.BytesIO(outer.read(f"{split}.zip"))) as inner:
                inner.extractall(data)
    (data / "sample.zip").unlink()
    cats, dogs = np.random.default_rng(SEED).choice(TRAIN // 2, (2, SWAPPED), replace=False)
    for cat, dog in zip(cats, dogs, strict=True):
        one, other = data / f"train/cat.{cat}.jpg", data / f"train/dog.{dog}.jpg"
        image = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(image)
    return sorted([f"cat.{n}" for n in cats] + [f"dog.{n}" for n in dogs])


def take(page: Page, first: str | int, last: str, name: str) -> None:
    """Take a screenshot from the top of an element, or from a vertical position in pixels, to the end of another."""
    top = first if isinstance(first, int) else _box(page, first)["y"] - 24
    box = _box(page, last)
    clip = {"x": 0, "y": top, "width": WIDTH, "height": box["y"] + box["height"] + 24 - top}
    with Image.open(io.BytesIO(page.screenshot(full_page=True, clip=clip))) as image:
        image.convert("RGB").save(HERE / f"{name}.webp", quality=80, method=6)
        print(f"{name}.webp, {image.width}x{image.height}, {(HERE / f'{name}.webp').stat().st_size:,} bytes")


def _box(page: Page, selector: str) -> dict[str, float]:
    return page.locator(selector).evaluate("element => element.getBoundingClientRect().toJSON()")


if __name__ == "__main__":
    main()
