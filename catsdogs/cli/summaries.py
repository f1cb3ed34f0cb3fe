"""Summarise what the commands that write files have done, as lines of a name and a text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import catsdogs

from .console import Line, block, command, plural, program, unreadable_lines, wrote

if TYPE_CHECKING:
    from ..artifacts import Artifacts
    from ..backbone import Int8Similarity

KAGGLE, KAGGLE_ROWS = "dogs-vs-cats-redux-kernels-edition", 12_500
"""The competition, and how many rows it takes."""


def run_lines(done: catsdogs.Run, artifacts: Path) -> Iterator[Line]:
    """Say what was done, where to look, and what comes next."""
    paths = _paths(artifacts)
    yield from extraction_facts(done.extraction, artifacts)
    if not done.metrics:
        yield "head", "none: there are no training images, with labels, among what was extracted"
        yield from wrote(paths.features)
        yield "next", command("run DATA", artifacts) + ", DATA with training images"
        return
    yield from metrics_lines(done.metrics)
    if not done.trained:
        yield "", "trained before, and still valid"
    if done.submission:
        yield from submission_facts(done.submission, artifacts)
    else:
        yield "submission", "none: there are no test images without labels"
    yield from wrote(paths.metrics, paths.predictions, *([paths.submission] if done.submission else []))
    yield from block("next", (next_after_submission(done.submission, artifacts), command("report", artifacts)))


def extraction_lines(done: catsdogs.Extraction, artifacts: Path) -> Iterator[Line]:
    """Say what became of the images, and what comes next."""
    yield from extraction_facts(done, artifacts)
    yield from wrote(_paths(artifacts).features)
    yield "next", command("train", artifacts)


def extraction_facts(done: catsdogs.Extraction, artifacts: Path) -> Iterator[Line]:
    """Say what became of the images."""
    unreadable = {name: reason for split in done.unreadable.values() for name, reason in split.items()}
    total, splits = sum(done.images.values()), ", ".join(f"{count:,} {split}" for split, count in done.images.items())
    yield "images", f"{total:,}: {total - len(unreadable):,} done, {len(unreadable):,} unreadable ({splits})"
    yield from unreadable_lines(unreadable, f"in {_paths(artifacts).features}/*/unreadable.csv")
    yield "classes", " and ".join(done.classes)
    yield "", f"{plural(done.skipped, 'other file')} passed over"
    if done.computed:
        rate = f", {done.rate:.0f} images/s" if done.rate else ""
        yield "features", f"{done.computed:,} computed with {done.backbone} in {done.seconds:.1f} s{rate}"
        yield "", f"by {done.engine} in {done.precision}"
        if done.int8_similarity:
            yield "", int8_similarity_line(done.int8_similarity)
        if done.batch_reduced:
            yield "", "fewer images at once than usual: the device had too little memory for more"
    else:
        yield "features", f"none computed: all were cached, made with {done.backbone}"
    if done.backbone.startswith("random"):
        yield "", "RANDOM weights: to try and to time; the predictions mean nothing"
    yield "duplicates", duplicates_line(done.duplicates)


def _paths(artifacts: Path) -> Artifacts:
    from ..artifacts import Artifacts  # with NumPy, for which --help need not wait

    return Artifacts(artifacts)


def int8_similarity_line(cosine: Int8Similarity) -> str:
    """Say how near features of 8 bits are to those of float32."""
    return f"cosine to float32 {cosine.mean:.4f}, at least {cosine.least:.4f}, of {cosine.images} images"


def duplicates_line(counts: dict[str, int]) -> str:
    """Say how many pairs of images are the same or nearly so."""
    if not counts:
        return "not looked for yet: the other split is damaged, see verify"
    if not counts["pairs"]:
        near = ", or nearly so" if counts["near"] else "; near duplicates were not looked for"
        return f"none: no two images are the same{near}"
    equal = f"{counts['identical']:,} of equal bytes" if counts["near"] else "of equal bytes, others not looked for"
    return (
        f"{plural(counts['pairs'], 'pair')}, {equal}; "
        f"{counts['across_classes']:,} across classes, {counts['across_splits']:,} across train and test"
    )


def training_lines(done: catsdogs.Training, artifacts: Path) -> Iterator[Line]:
    """Say how good the head is, where to look, and what comes next."""
    yield from metrics_lines(done.metrics)
    paths = _paths(artifacts)
    yield "suspects", f"{done.suspects:,} training images whose label may be wrong, in {paths.suspects}"
    yield "", f"trained in {done.seconds:.1f} s"
    yield from wrote(paths.metrics, paths.predictions)
    yield from block("next", (command(name, artifacts) for name in ("submit", "report", "predict IMAGE...")))


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
    yield from block("curve", map(_curve_point, metrics.get("learning_curve", [])))


def _curve_point(point: dict[str, Any]) -> str:
    low, high = point["interval"]
    return f"{point['images']:>7,} images  log loss {point['log_loss']:.4f}  [{low:.4f}, {high:.4f}]"


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


def submission_lines(done: catsdogs.Submission, artifacts: Path) -> Iterator[Line]:
    """Say what was written for Kaggle, and what comes next."""
    yield from submission_facts(done, artifacts)
    yield from wrote(done.path)
    yield "next", next_after_submission(done, artifacts)


def submission_facts(done: catsdogs.Submission, artifacts: Path) -> Iterator[Line]:
    """Say what was written for Kaggle."""
    yield "submission", f"{done.images:,} rows, clipped to [{done.clip:g}, {1 - done.clip:g}]"
    yield "", f"each a probability of {done.classes[1]}, against {done.classes[0]}"
    if done.stale:
        yield "", f"by a head of OLDER training features: {command('train', artifacts)} makes a new one"
    if done.unreadable:
        yield "", f"{len(done.unreadable):,} unreadable, with the training share of {done.classes[1]} as their label:"
        yield from unreadable_lines(done.unreadable, f"in {_paths(artifacts).features}/*/unreadable.csv")


def next_after_submission(done: catsdogs.Submission | None, artifacts: Path) -> str:
    """Return the command that comes next: Kaggle's own, where the file has the rows that Kaggle takes."""
    if done and done.images == KAGGLE_ROWS:
        return f"kaggle competitions submit -c {KAGGLE} -f {done.path} -m catsdogs"
    return command("predict IMAGE...", artifacts)


def report_lines(done: catsdogs.Report, artifacts: Path) -> Iterator[Line]:
    """Say what was written to be looked at, and which pictures are not in it."""
    size = f"{plural(done.pictures, 'picture')}, {done.size / 1e6:.1f} MB"
    yield "report", f"one page with {size}, in {done.seconds:.1f} s"
    if done.missing:
        yield "", f"{plural(done.missing, 'image')} WITHOUT a picture: the page says why of each"
    for problem in done.problems:
        yield "", problem
    yield from wrote(done.path)
    yield "next", command("predict IMAGE...", artifacts)


def export_lines(done: catsdogs.Export) -> Iterator[Line]:
    """Say what was written, what goes in and what comes out of it, and how well it agrees with us."""
    yield "exported", f"backbone and head as one network, {done.bytes / 1e6:,.1f} MB, in {done.seconds:.1f} s"
    inputs = ((name, " x ".join(map(str, shape))) for name, shape in done.inputs.items())
    yield from block("input", (f"{name}: n x {shape}, RGB of 0 to 255" for name, shape in inputs))
    yield "output", f"probability: n x 1, of {done.classes[1]} against {done.classes[0]}"
    whose = f"of {done.source}" if done.source else "that were drawn: yours are gone"
    yield "checked", f"on {done.images} images {whose}"
    yield "", f"at most {done.max_difference:.1e} from our own probabilities in float32"
    if done.precision != "float32":
        yield "", f"at most {done.max_difference_predict:.1e} from what predict says, in {done.precision}"
    yield from wrote(done.path)


def preparation_lines(done: catsdogs.Preparation) -> Iterator[Line]:
    """Say which pictures there are, what there are none of, and what comes next."""
    total, splits = sum(done.images.values()), ", ".join(f"{count:,} {split}" for split, count in done.images.items())
    yield "pictures", f"{total:,} of 224x224 pixels ({splits}), split by seed {done.seed}"
    if done.written:
        yield "", f"{done.written:,} written in {done.seconds:.1f} s, {done.written / done.seconds:.0f} images/s"
    else:
        yield "", "none written: all were there"
    if done.renumbered:
        yield "", f"{done.renumbered:,} with a new number, as theirs was taken, or they had none:"
        yield "", f"in {done.folder / 'prepared.csv'}"
    yield "classes", " and ".join(done.classes)
    yield "passed over", f"{done.unlabelled:,} images without a label, {plural(done.skipped, 'other file')}"
    if done.unreadable:
        yield "unreadable", f"{len(done.unreadable):,}, of which there are no pictures:"
        yield from unreadable_lines(done.unreadable, f"in {done.folder / 'prepared.csv'}")
    yield from wrote(done.folder)
    yield "next", f"{program()} run {done.folder}"


def demo_lines(done: catsdogs.Demo, artifacts: Path) -> Iterator[Line]:
    """Say the same of the demo, and how many test pictures it got right."""
    yield "pictures", f"cartoons of cats and dogs, drawn into {done.data}"
    if done.imagenet_error:
        yield "weights", "RANDOM ones had to do, as those of ImageNet could not be downloaded;"
        yield "", "the README says how to do without internet"
    *lines, _, _ = run_lines(done.run, artifacts)  # all but what comes next there
    yield from lines
    if done.run.submission:
        yield "right", f"{done.correct} of {done.run.submission.images} test pictures"
    yield "next", command("report", artifacts)
    yield "", command("info", artifacts)
    yield "", f"{program()} run DATA, with pictures of your own or Kaggle's zip"


def notebook_lines(path: Path) -> Iterator[Line]:
    """Say where the walkthrough is, and what opens it."""
    yield "notebook", f"{path}: the whole job on drawn pictures, step by step"
    with_jupyter = "pip install jupyterlab &&" if program() == "catsdogs" else "uv run --with jupyterlab"
    yield "next", f"{with_jupyter} jupyter lab {path}"
    yield "", "or open it with any other editor of notebooks"
