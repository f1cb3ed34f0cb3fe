"""What `train` says."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...artifacts import Artifacts
from .console import Line, command, look_at

if TYPE_CHECKING:
    from ...commands.train import Training


def training_lines(done: Training, artifacts: Path) -> Iterator[Line]:
    """Say how good the head is, where to look, and what comes next."""
    yield from metrics_lines(done.metrics)
    paths = Artifacts(artifacts)
    yield "suspects", f"{done.suspects:,} training images whose label may be wrong, in {paths.suspects}"
    yield "", f"trained in {done.seconds:.1f} s"
    yield from look_at(paths.metrics, paths.predictions)
    yield "next", command("submit", artifacts)
    yield "", command("report", artifacts)
    yield "", command("predict IMAGE...", artifacts)


def metrics_lines(metrics: dict[str, Any]) -> Iterator[Line]:
    """Say how good the head is, by the content of metrics.json."""
    yield from score_lines("head", metrics, "out of fold")
    excluded = f", {metrics['excluded']:,} left out" if metrics["excluded"] else ""
    fitted = f"{metrics['transform']}, C {metrics['C']:.3g}"
    yield "", f"logistic regression on {metrics['images']:,} images{excluded}, {fitted}"
    clip = metrics["clip"]
    yield "", f"clipped at {clip['chosen']:g} {clip['log_loss']:.4f}, at 0.05 as in 2017 {clip['log_loss_at_0.05']:.4f}"
    if nested := metrics.get("nested"):
        yield from score_lines("nested", nested, "all chosen without the fold")
    if holdout := metrics.get("holdout"):
        yield from score_lines("holdout", holdout, f"{holdout['images']:,} held out")
    if test := metrics.get("test"):
        yield from score_lines("test", test, f"{test['images']:,} labelled images, not trained on")
    for name, point in zip(chain(["curve"], repeat("")), metrics.get("learning_curve", []), strict=False):
        low, high = point["interval"]
        yield name, f"{point['images']:>7,} images  log loss {point['log_loss']:.4f}  [{low:.4f}, {high:.4f}]"


def score_lines(name: str, scores: dict[str, Any], how: str) -> Iterator[Line]:
    """Say how good something is, each figure with its interval where that is known."""
    yield name, f"log loss {_figure(scores, 'log_loss')}, {how}"
    yield "", f"accuracy {_figure(scores, 'accuracy')}, AUC {_figure(scores, 'auc')}"
    yield "", f"Brier score {_figure(scores, 'brier')}"
    yield "", f"calibration error {_figure(scores, 'calibration_error')}"


def _figure(scores: dict[str, Any], name: str) -> str:
    if scores[name] is None:
        return "none"
    low_high = scores.get("intervals", {}).get(name)
    return f"{scores[name]:.4f}" + (f" [{low_high[0]:.4f}, {low_high[1]:.4f}]" if low_high else "")
