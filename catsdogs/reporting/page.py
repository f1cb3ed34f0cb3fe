"""Render the report as one HTML page that needs nothing else."""

import base64
import hashlib
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .. import __version__
from ..errors import printable
from ..head.folds import FOLDS, SEED
from ..head.metrics import CLIP_2017
from . import galleries
from .findings import Findings
from .plots import Plot
from .thumbnails import Thumbnails

LISTED = 200
"""Unreadable images that a page names; the others are in unreadable.csv."""

SURE = 0.9
"""Below this probability of its class a test image is counted as one that the head is not sure of."""

_DIGITS = (2, 4)


def write_page(
    findings: Findings,
    shown: dict[str, galleries.Gallery],
    pairs: tuple[galleries.Pair, ...],
    *,
    thumbnails: Thumbnails,
    plots: dict[str, Plot],
) -> bytes:
    """Return the page.

    Whatever is a text in what is given is shown as text: file names and the reasons of decoders come from strangers.
    """
    environment = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters |= {"percent": percent, "figure": _figure, "count": _count, "share": _share}
    style, script = (files(__package__).joinpath(f"report.{kind}").read_text("utf-8") for kind in ("css", "js"))
    return (
        environment.get_template("report.html.jinja")
        .render(
            policy=f"default-src 'none'; img-src data:; style-src {_allowed(style)}; script-src {_allowed(script)}; "
            "base-uri 'none'; form-action 'none'",
            style=Markup(style),  # noqa: S704 - they are files of this package
            script=Markup(script),  # noqa: S704
            plots={name: {"svg": Markup(plot.svg), "said": plot.said} for name, plot in plots.items()},  # noqa: S704
            findings=findings,
            galleries=shown,
            pairs=pairs,
            pictures=thumbnails.pictures,
            problems=thumbnails.problems,
            missing=thumbnails.missing,
            confusion=_confusion(findings),
            tests=_test_counts(findings),
            duplicates=findings.duplicates and findings.duplicates.counts(),
            made=_made(findings),
            steps=_steps(findings.timings),
            constants={
                "version": __version__,
                "folds": FOLDS,
                "seed": SEED,
                "drawn": galleries.SEED,
                "listed": LISTED,
                "clip_2017": CLIP_2017,
            },
        )
        .encode()
    )


def percent(probability: float) -> str:
    """Return a share in percent, with so many digits that it is not rounded to all or nothing.

    >>> percent(0.98765), percent(0.999999), percent(1.0)
    ('98.77%', '99.9999%', '100%')
    """
    if probability in (0, 1):
        return f"{probability:.0%}"
    for digits in _DIGITS:
        text = f"{probability:.{digits}%}"
        if 0 < float(text[:-1]) < 100:
            return text
    return f"> 99.{'9' * digits}%" if probability > 0.5 else f"< 0.{'0' * (digits - 1)}1%"


def _allowed(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _confusion(findings: Findings) -> list[list[int]]:
    """Return how many training images of each class, a row, are taken for which, a column."""
    train = findings.train
    taken = train.probabilities > 0.5
    return [[int(((train.labels == label) & (taken == column)).sum()) for column in (0, 1)] for label in (0, 1)]


def _test_counts(findings: Findings) -> dict[str, int]:
    """Return how many test images are taken for what, and of how many that is not sure."""
    if not findings.test:
        return {}
    probabilities, (first, second) = findings.test.probabilities, findings.classes
    return {
        f"taken for {first}": int(np.sum(probabilities <= 0.5)),
        f"taken for {second}": int(np.sum(probabilities > 0.5)),
        f"less than {SURE:.0%} sure": int(np.sum(np.abs(probabilities - 0.5) < SURE - 0.5)),
    }


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _count(value: int) -> str:
    return f"{value:,}"


def _share(value: float) -> str:
    return f"{value:.1%}"


def _made(findings: Findings) -> dict[str, str]:
    """Return what made the features and the head, a name and a text each."""
    provenance, metrics = findings.manifest.provenance, findings.metrics
    excluded = f", {metrics['excluded']:,} left out" if metrics["excluded"] else ""
    return {
        "weights": f"{provenance.weights_name}, SHA-256 {provenance.sha256}",
        "engine": f"{provenance.engine} at {provenance.precision}",
        "pixels": f"{provenance.pixels}; view {', '.join(findings.manifest.views)}",
        "head": f"logistic regression on {metrics['images']:,} images{excluded}, transform {metrics['transform']}, "
        f"C {metrics['C']:.3g}",
        "folds": f"{FOLDS}, drawn with seed {SEED}; transform and C were chosen by the same folds",
        "versions": ", ".join(
            f"{name} {value}" for name, value in (provenance.versions | findings.metadata.versions).items()
        ),
    }


def _steps(timings: dict[str, Any]) -> list[dict[str, str]]:
    """Return a row of texts for each step of timings.json; what it does not hold is empty."""
    rows = []
    for name, facts in timings.items():
        if not isinstance(facts, dict):
            continue  # it is only a note, and somebody has changed it
        images, seconds = facts.get("images"), facts.get("seconds")
        rate = facts.get("rate") or (images / seconds if images and seconds else None)
        place = " ".join(str(facts[of]) for of in ("engine", "device") if of in facts)
        cores = f"{facts['cores']} cores of {facts['host']}" if "cores" in facts and "host" in facts else ""
        rows.append(
            {
                "name": name,
                "images": "" if images is None else f"{images:,}",
                "seconds": "" if seconds is None else f"{seconds:,.{1 if seconds >= 1 else 2}f}",
                "rate": "" if rate is None else f"{rate:,.0f}",
                "place": ", ".join(filter(None, (place, cores))),
            }
        )
    return rows
