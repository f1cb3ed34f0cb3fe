"""Draw the plots as SVG, with the colours and the font of the page."""

import io
import logging
import re
import warnings
from collections.abc import Callable, Sequence
from xml.etree import ElementTree

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from ..errors import printable
from ..head import LearningCurvePoint, TrainingMetrics, bins_of, wilson
from .findings import Findings, Scored

_FINE_BINS = 40
_INSET_FROM = 0.99
"""AUC above which an inset enlarges the top left corner, through which the ROC curve then passes."""

_LONGEST = 24
"""Longest class name in a plot, in characters."""

_SIZE = (5.2, 3.6)

_COLOURS = {f"#00000{n}": name for n, name in enumerate(("ink", "muted", "line", "first", "second", "card"), 1)}
"""Placeholders, replaced by the CSS variables of the page: its colours depend on the colour scheme."""

INK, MUTED, LINE, FIRST, SECOND, PAPER = _COLOURS

_STYLE = {
    "svg.fonttype": "none",  # text stays text: browsers can search, read out and copy it
    "text.parse_math": False,  # a class name may contain $
    "font.size": 11.5,
    "legend.frameon": False,
    **dict.fromkeys(("axes.grid", "axes.axisbelow", "figure.constrained_layout.use"), True),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), MUTED),
    "grid.color": LINE,
    **dict.fromkeys(("figure.facecolor", "axes.facecolor"), "none"),
    "lines.linewidth": 1.8,
}

# Without a handler, Python prints the warnings that Matplotlib logs, such as the one about its font cache.
logging.getLogger("matplotlib").addHandler(logging.NullHandler())


def draw_plots(findings: Findings) -> dict[str, str]:
    """Draw the plots of the report.

    Parameters
    ----------
    findings : Findings

    Returns
    -------
    dict of str to str
        SVG elements for an HTML page, without scripts, style sheets or external resources: "reliability", "histogram",
        "roc" and "path" of the out-of-fold predictions; "learning_curve" and "test" (a histogram of the test images) if
        there are such results.
    """
    train, metrics = findings.train, findings.metrics
    first, second = (_short(name) for name in findings.classes)
    plots = {
        "reliability": _plot("reliability", lambda axes: _reliability(axes, train, second)),
        "histogram": _plot("histogram", lambda axes: _histogram(axes, train, (first, second))),
        "roc": _plot("roc", lambda axes: _roc(axes, train, metrics.auc or 0.0)),
        "path": _plot("path", lambda axes: _path(axes, metrics)),
    }
    if curve := metrics.learning_curve:
        plots["learning_curve"] = _plot("learning_curve", lambda axes: _curve(axes, curve))
    if test := findings.test:
        plots["test"] = _plot("test", lambda axes: _histogram(axes, test, (first, second)))
    return plots


def roc(labels: NDArray[np.int8], logits: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return the points of the ROC curve: false and true positive rates of class 1 by descending threshold."""
    order = np.argsort(-logits, kind="stable")
    last = np.flatnonzero(np.diff(logits[order], append=-np.inf))
    above = np.vstack([labels[order] == 0, labels[order] == 1]).cumsum(axis=1)[:, last]
    false, true = np.hstack([np.zeros((2, 1)), above / above[:, -1:]])
    return false, true


def _reliability(axes: Axes, scored: Scored, second: str) -> str:
    _, bins, counts = np.unique(bins_of(scored.probabilities), return_inverse=True, return_counts=True)
    means, hits = np.bincount(bins, scored.probabilities) / counts, np.bincount(bins, scored.labels == 1)
    low, high = wilson(hits, counts)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.vlines(means, low, high, color=SECOND, alpha=0.6, linewidth=1.4)
    axes.scatter(means, hits / counts, s=18 + 110 * np.sqrt(counts / counts.max()), color=SECOND, edgecolor=PAPER)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axes.set(xlabel=f"mean predicted probability of {second}", ylabel=f"fraction of {second}")
    points = zip(means, hits / counts, counts, strict=True)
    parts = [f"predicted {p:.2f}, observed {fraction:.0%} of {n:,.0f} images" for p, fraction, n in points]
    return f"Reliability diagram. Fraction of {second} by bin: {'; '.join(parts)}."


def _histogram(axes: Axes, scored: Scored, classes: tuple[str, str]) -> str:
    edges = np.linspace(0, 1, _FINE_BINS + 1)
    parts = []
    kinds = ((classes[0], FIRST, 0), (classes[1], SECOND, 1), ("no label", MUTED, -1))
    for name, colour, label in kinds:
        of_label = scored.probabilities[scored.labels == label]
        if not len(of_label):
            continue
        counts, _ = np.histogram(of_label, edges)
        axes.stairs(counts, edges, color=colour, fill=True, alpha=0.22, baseline=0.5)
        axes.stairs(counts, edges, color=colour, linewidth=1.6, label=name, baseline=0.5)
        parts.append(f"{name}, {int(np.sum(of_label > 0.5)):,} of {len(of_label):,} images above 0.5")
    axes.set(xlim=(0, 1), xlabel=f"predicted probability of {classes[1]}")
    axes.set(yscale="log", ylim=(0.5, None), ylabel="number of images")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else "")
    axes.yaxis.set_minor_locator(NullLocator())
    if len(parts) > 1:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=2)
    return f"Histogram of the predicted probability of {classes[1]}, by label: {'; '.join(parts)}."


def _roc(axes: Axes, scored: Scored, auc: float) -> str:
    false, true = roc(scored.labels, scored.logits)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.plot(false, true, color=SECOND, drawstyle="steps-post")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    if auc > _INSET_FROM:
        corner = axes.inset_axes((0.42, 0.16, 0.52, 0.56), xlim=(-0.002, 0.1), ylim=(0.9, 1.002), facecolor=PAPER)
        corner.plot(false, true, color=SECOND, drawstyle="steps-post")
        corner.set(xticks=(0, 0.05, 0.1), yticks=(0.9, 0.95, 1))
        corner.tick_params(labelsize=9.5)
        corner.spines[:].set_visible(True)
        axes.indicate_inset((-0.002, 0.9, 0.102, 0.102), edgecolor=MUTED)
    for each in (axes, *axes.child_axes):
        for axis in (each.xaxis, each.yaxis):
            axis.set_major_formatter("{x:.0%}")
    return f"ROC curve. The area under the curve is {auc:.4f}."


def _path(axes: Axes, metrics: TrainingMetrics) -> str:
    parts = []
    for (name, path), line, marker in zip(metrics.paths.items(), ("-", "--", ":"), "osD", strict=False):
        c, losses = [point.C for point in path], [point.log_loss for point in path]
        selected = name == metrics.transform
        axes.plot(c, losses, line, color=INK if selected else MUTED, marker=marker, markersize=4.5, label=name)
        if selected:
            at = c.index(metrics.C)
            axes.plot(c[at], losses[at], marker="o", markersize=13, color=SECOND, fillstyle="none", markeredgewidth=2)
        points = (f"{loss:.4f} at {value:g}" for value, loss in zip(c, losses, strict=True))
        parts.append(f"{name}, {', '.join(points)}")
    axes.set(xscale="log", xlabel="C (inverse regularisation strength)", ylabel="out-of-fold log loss")
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.xaxis.set_major_formatter(lambda value, _: re.sub(r"e\+?(-?)0*", r"e\1", f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.legend()
    return f"Log loss by transform and C: {'; '.join(parts)}. Selected: {metrics.transform}, C = {metrics.C:g}."


def _curve(axes: Axes, curve: Sequence[LearningCurvePoint]) -> str:
    images, losses = np.array([(point.images, point.log_loss) for point in curve], np.float64).T
    low, high = np.array([point.interval for point in curve], np.float64).T
    axes.fill_between(images, low, high, color=INK, alpha=0.15, linewidth=0)
    axes.plot(images, losses, color=INK, marker="o", markersize=5)
    axes.set(xscale="log", xlabel="number of training images", ylim=(0, None), ylabel="out-of-fold log loss")
    # The last point, all images, may be too close to the one before for two tick labels.
    apart = np.append(images[1:] >= 1.5 * images[:-1], True)
    axes.set_xticks(images[apart], [f"{n:,.0f}" for n in images[apart]])
    axes.xaxis.set_minor_locator(NullLocator())
    parts = [f"{loss:.4f} with {n:,.0f} images" for n, loss in zip(images, losses, strict=True)]
    return f"Learning curve. Log loss: {'; '.join(parts)}."


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _plot(name: str, draw: Callable[[Axes], str]) -> str:
    """Draw reproducibly, whatever the Matplotlib settings of the user are."""
    # A class name may have letters that are missing from Matplotlib's font; the browser uses its own fonts.
    with warnings.catch_warnings(), style.context(["default", _STYLE | {"svg.hashsalt": name}]):
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure, file = Figure(figsize=_SIZE), io.BytesIO()
        description = draw(figure.subplots())
        figure.savefig(file, format="svg", metadata={"Date": None})
    return _to_element(file.getvalue(), name, description)


def _to_element(svg: bytes, name: str, description: str) -> str:
    """Return Matplotlib's SVG as an element with style attributes replaced: the page's policy forbids inline styles."""
    root = ElementTree.fromstring(svg)  # noqa: S314 - Matplotlib's output
    for parent in root.iter():
        for child in [child for child in parent if child.tag.endswith(("}metadata", "}style"))]:
            parent.remove(child)
    for each in root.iter():
        each.tag = each.tag.rpartition("}")[2]
        attributes = {key.rpartition("}")[2]: value for key, value in each.attrib.items()}
        attributes |= dict(re.findall(r"([\w-]+): *([^;]+)", attributes.pop("style", "")))
        attributes.pop("font-family", None)  # the page sets the font
        each.attrib = {key: _value(key, value, name) for key, value in attributes.items()}
    root.attrib |= {"role": "img", "aria-label": description, "stroke-linejoin": "round", "class": "plot"}
    return ElementTree.tostring(root, encoding="unicode")


def _value(key: str, value: str, name: str) -> str:
    if value in _COLOURS:
        return f"var(--{_COLOURS[value]})"
    if key == "id":
        return f"{name}-{value}"
    return re.sub(r"#(?=[\w-]+\)?$)", f"#{name}-", value) if key in ("href", "clip-path") else value
