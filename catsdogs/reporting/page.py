"""Render a template as one self-contained HTML page, and the report with it."""

import base64
import hashlib
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from .. import __version__
from ..errors import printable
from ..head import CLIP_2017, FOLDS, SEED
from . import galleries
from .findings import Findings
from .thumbnails import Thumbnails

LISTED = 200
"""Largest number of unreadable images that the page lists; unreadable.csv has all of them."""

CONFIDENT = 0.9
"""The report counts the test images whose predicted class has a probability below this."""


def write_page(
    findings: Findings,
    shown: dict[str, galleries.Gallery],
    pairs: tuple[galleries.Pair, ...],
    *,
    unusual: dict[str, galleries.Gallery],
    thumbnails: Thumbnails,
    plots: dict[str, str],
) -> bytes:
    """Return the report."""
    train = findings.train
    tests = findings.test.probabilities if findings.test else np.empty(0)
    confusion = np.bincount(2 * train.labels + (train.probabilities > 0.5), minlength=4)
    return render(
        "report",
        classes=findings.classes,
        corrected=findings.corrections,
        plots=plots,
        findings=findings,
        galleries=shown,
        pairs=pairs,
        unusual=unusual,
        thumbnails=thumbnails,
        confusion=confusion.reshape(2, 2).tolist(),
        predicted=[int(np.sum(of)) for of in (tests <= 0.5, tests > 0.5, np.abs(tests - 0.5) < CONFIDENT - 0.5)],
        confident=CONFIDENT,
        folds=FOLDS,
        fold_seed=SEED,
        seed=galleries.SEED,
        listed=LISTED,
        clip_2017=CLIP_2017,
    )


def render(template: str, *, look: str = "report", **content: Any) -> bytes:
    """Return the page of a template, which loads nothing and runs no script but its own.

    The page has the style in colours.css and LOOK.css and the script in LOOK.js. All strings are escaped, unless the
    template marks them as safe: file names and the messages of decoders are untrusted.
    """
    environment = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters |= {"percent": percent, "figure": _figure, "count": "{:,}".format, "fraction": "{:.1%}".format}
    folder = files(__package__)
    style = "".join(folder.joinpath(f"{part}.css").read_text("utf-8") for part in ("colours", look))
    script = folder.joinpath(f"{look}.js").read_text("utf-8")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_allowed(style)}; script-src {_allowed(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    page = environment.get_template(f"{template}.html.jinja")
    return page.render(policy=policy, style=style, script=script, version=__version__, **content).encode()


def percent(probability: float) -> str:
    """Format a probability in percent, with enough digits that it is not rounded to 0 or 100.

    >>> percent(0.98765), percent(0.999999), percent(1.0)
    ('98.77%', '99.9999%', '100%')
    """
    if probability in (0, 1):
        return f"{probability:.0%}"
    for text in (f"{probability:.2%}", f"{probability:.4%}"):
        if 0 < float(text[:-1]) < 100:
            return text
    return "> 99.9999%" if probability > 0.5 else "< 0.0001%"


def _allowed(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"
