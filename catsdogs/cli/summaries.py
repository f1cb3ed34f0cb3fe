"""Summarise the results of the commands that write files, as lines of a name and a text."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import catsdogs

from .console import Line, block, by_split, command, plural, program, unreadable_lines, wrapped, wrote

if TYPE_CHECKING:
    from ..artifacts import Artifacts
    from ..backbone import Int8Similarity
    from ..head.results import LearningCurvePoint, Scores

KAGGLE, KAGGLE_ROWS = "dogs-vs-cats-redux-kernels-edition", 12_500
"""The competition, and the number of rows of its submissions."""

_MAX_REASONS = 3
"""Reasons for skipping files that a summary gives."""


def run_lines(done: catsdogs.Run, artifacts: Path) -> Iterator[Line]:
    """Summarise a run: images, metrics, files and next commands."""
    paths = _paths(artifacts)
    yield from extraction_facts(done.extraction, artifacts)
    if not done.metrics:
        yield "head", "none: there are no labelled training images"
        yield from wrote(paths.features)
        yield "next", command("run DATA", artifacts) + ", with training images in DATA"
        return
    yield from metrics_lines(done.metrics)
    if not done.trained:
        yield "", "trained earlier, still valid"
    if done.submission:
        yield from submission_facts(done.submission, artifacts)
    else:
        yield "submission", "none: there are no unlabelled test images"
    trained, submitted = [paths.metrics, paths.predictions, paths.suspects], [paths.submission]
    yield from wrote(*(trained if done.trained else []), *(submitted if done.submission else []))
    yield from block("next", (next_after_submission(done.submission, artifacts), command("report", artifacts)))


def extraction_lines(done: catsdogs.Extraction, artifacts: str | Path) -> Iterator[Line]:
    """Summarise an extraction, and name the next command."""
    yield from extraction_facts(done, Path(artifacts))
    if done.parquet:
        yield "wrote", done.parquet
        yield "next", command(shlex.join(["subset", done.parquet]), artifacts)
        return
    if done.part:
        yield "wrote", f"{done.uri.rstrip('/') or _paths(Path(artifacts)).root}/features"
        yield "part", done.part
        yield "next", f"{program()} merge ARTIFACTS FROM..., with the folders of all parts"
    else:
        yield from wrote(_paths(Path(artifacts)).features)
        yield "next", command("train", artifacts)


def extraction_facts(done: catsdogs.Extraction, artifacts: Path) -> Iterator[Line]:
    """Summarise an extraction."""
    yield from image_lines(done, artifacts)
    yield from source_lines(done.scan)
    if done.computed:
        rate = f", {done.rate:.0f} images/s once loaded" if done.rate else ""
        yield "features", f"{done.computed:,} computed with {done.backbone} in {done.seconds:.1f} s{rate}"
        yield "", f"engine {done.engine}, precision {done.precision}"
        if done.int8_similarity:
            yield "", int8_similarity_line(done.int8_similarity)
        if done.batch_reduced:
            yield "", "smaller batch size than usual: the device has too little memory"
    else:
        there = "in files of Parquet" if done.parquet else "cached"
        readable = sum(done.images.values()) > sum(map(len, done.unreadable.values()))
        why = f"all were {there}, computed with {done.backbone}" if readable else "there is no readable image"
        yield "features", f"none computed: {why}"
    if done.backbone.startswith("random"):
        yield "", "random weights are not trained: for testing and timing only,"
        yield "", "accuracy will be low on photographs"
    if not done.part and not done.parquet:
        yield from block("duplicates", duplicates_texts(done.duplicates))


def subset_lines(done: catsdogs.Subset, artifacts: Path) -> Iterator[Line]:
    """Summarise a sample, and name the next command."""
    counts = ", ".join(f"{count:,} of {done.available[name]:,} {name}" for name, count in done.images.items())
    yield "images", f"{counts}, computed with {done.backbone}"
    yield from wrote(_paths(artifacts).features)
    yield "next", command("train", artifacts)


def scoring_lines(done: catsdogs.Scoring) -> Iterator[Line]:
    """Summarise the scores."""
    unreadable = {name: reason for split in done.unreadable.values() for name, reason in split.items()}
    yield "images", f"{done.images:,}, of which {done.scored:,} scored now, {len(unreadable):,} unreadable"
    yield from unreadable_lines(unreadable, f"in the column reason of {done.out}")
    if done.scan:
        yield from source_lines(done.scan)
    yield "wrote", f"{done.out}, the probabilities of {done.classes[1]}"


def image_lines(done: catsdogs.Extraction | catsdogs.Merge, artifacts: Path) -> Iterator[Line]:
    """Count the images by split, and name the first unreadable ones."""
    unreadable = {name: reason for split in done.unreadable.values() for name, reason in split.items()}
    yield "images", f"{sum(done.images.values()):,} ({by_split(done.images)}), {len(unreadable):,} unreadable"
    if isinstance(done, catsdogs.Extraction) and (done.parquet or done.part):
        where = f"in the column reason of {done.parquet}" if done.parquet else "in the table of the part"
    else:
        where = f"in {_paths(artifacts).features}/*/unreadable.csv"
    yield from unreadable_lines(unreadable, where)


def source_lines(scan: catsdogs.Scan) -> Iterator[Line]:
    """Show in a few lines how the images were read: what was decided, and what was skipped and why."""
    yield "classes", " and ".join(scan.classes)
    yield from block("read as", scan.rules)
    skipped = [f"{of.files:,} {of.reason}" for of in scan.skipped[:_MAX_REASONS]]
    if more := sum(of.files for of in scan.skipped[_MAX_REASONS:]):
        skipped.append(f"{more:,} for other reasons (see extract --dry-run)")
    yield from wrapped(block("skipped", skipped))


def _paths(artifacts: Path) -> Artifacts:
    from ..artifacts import Artifacts  # imported here, as NumPy would slow down --help

    return Artifacts(artifacts)


def int8_similarity_line(cosine: Int8Similarity) -> str:
    """Return how similar int8 features are to float32 features."""
    return f"cosine to float32: mean {cosine.mean:.4f}, lowest {cosine.least:.4f}, on {cosine.images} images"


def duplicates_texts(counts: dict[str, int]) -> Iterator[str]:
    """Return the numbers of pairs of identical and near-duplicate images."""
    if not counts:
        yield "not searched for: the other split is damaged, see catsdogs verify"
        return
    across = f"{counts['across_classes']:,} across classes, {counts['across_splits']:,} across train and test"
    pairs = f"{plural(counts['pairs'], 'pair')}, {counts['identical']:,} identical; {across}"
    yield pairs if counts["pairs"] else "none"
    if counts["contradictory"]:
        yield f"{plural(counts['contradictory'], 'pair')} of identical images with different labels"
    if not counts["near"]:
        yield "near-duplicates were not searched for"


def training_lines(done: catsdogs.Training, artifacts: Path) -> Iterator[Line]:
    """Summarise a training: metrics, suspects, files and next commands."""
    yield from metrics_lines(done.metrics)
    paths = _paths(artifacts)
    suspects = f"{plural(done.suspects, 'training image')} whose label may be wrong"
    yield "suspects", suspects if done.suspects else "none"
    yield "", f"trained in {done.seconds:.1f} s"
    yield from wrote(paths.metrics, paths.predictions, paths.suspects)
    submit = ["submit"] if paths.cache.labelled("test") is False else []
    yield from block("next", (command(name, artifacts) for name in (*submit, "report", "predict IMAGE...")))


def correction_lines(done: catsdogs.Correction, artifacts: Path) -> Iterator[Line]:
    """Summarise the corrections in force, and name the next command."""
    yield from block("corrections", correction_texts(vars(done)))
    changes = {"new": done.new, "replaced": done.replaced, "undone": done.undone}
    yield "", ", ".join(f"{count:,} {what}" for what, count in changes.items() if count) or "no changes"
    if done.path.exists():  # without corrections there is no file
        yield from wrote(done.path)
    yield "next", command("train", artifacts)


def correction_texts(counts: Mapping[str, int]) -> Iterator[str]:
    """Return the numbers of corrections by kind, and what may be wrong with them."""
    kinds = ("relabelled", "kept", "dropped")
    total = sum(counts[kind] for kind in kinds)
    yield f"{plural(total, 'image')}: {', '.join(f'{counts[kind]:,} {kind}' for kind in kinds)}"
    if moved := counts["moved"]:
        yield f"{plural(moved, 'image')} in another folder than when judged: the correction holds"
    if unmatched := counts["unmatched"]:
        yield f"{unmatched:,} more, of images that are not in the training split"


def metrics_lines(metrics: catsdogs.TrainingMetrics) -> Iterator[Line]:
    """Show the content of metrics.json."""
    yield from score_lines("head", metrics, "out of fold")
    dropped = metrics.corrections.dropped if metrics.corrections else 0
    left_out = {"excluded": metrics.excluded - dropped, "dropped": dropped}
    excluded = ", ".join(f"{count:,} {how}" for how, count in left_out.items() if count > 0)
    excluded = f" ({excluded})" if excluded else ""
    fitted = f"{metrics.transform}, C {metrics.C:.3g}"
    yield "", f"logistic regression on {metrics.images - metrics.excluded:,} images{excluded}, {fitted}"
    clip = metrics.clip
    yield "", f"log loss {clip.log_loss:.4f} clipped at {clip.chosen:g}"
    if corrections := metrics.corrections:
        yield from block("corrections", correction_texts(vars(corrections)))
        if corrections.interval:
            low, high = corrections.interval
            change = f"{corrections.log_loss_before:.4f} before, {corrections.log_loss_after:.4f} after"
            yield "", f"log loss {change} ({corrections.difference:+.4f} [{low:+.4f}, {high:+.4f}])"
            yield "", f"on the {plural(corrections.compared, 'image')} that they do not change"
    if nested := metrics.nested:
        flatters = nested.log_loss > metrics.intervals.log_loss[1]
        how = ": the figures above flatter" if flatters else ", nested cross-validation"
        yield "nested", f"log loss {_score(nested, 'log_loss')}{how}"
    if holdout := metrics.holdout:
        yield from score_lines("holdout", holdout, f"{holdout.images:,} images held out")
    if test := metrics.test:
        yield from score_lines("test", test, f"{test.images:,} labelled images, not trained on")
    yield from block("curve", map(_curve_point, metrics.learning_curve))


def _curve_point(point: LearningCurvePoint) -> str:
    low, high = point.interval
    return f"{point.images:>7,} images  log loss {point.log_loss:.4f}  [{low:.4f}, {high:.4f}]"


def score_lines(name: str, scores: Scores, how: str) -> Iterator[Line]:
    """Show scores, each with its interval if there is one."""
    yield name, f"log loss {_score(scores, 'log_loss')}, {how}"
    yield "", f"accuracy {_score(scores, 'accuracy')}, AUC {_score(scores, 'auc')}"
    yield "", f"Brier score {_score(scores, 'brier')}"
    yield "", f"calibration error {_score(scores, 'calibration_error')}"


def _score(scores: Scores, name: str) -> str:
    if (value := getattr(scores, name)) is None:
        return "undefined"
    low_high = getattr(getattr(scores, "intervals", None), name, None)
    return f"{value:.4f}" + (f" [{low_high[0]:.4f}, {low_high[1]:.4f}]" if low_high else "")


def submission_lines(done: catsdogs.Submission, artifacts: Path) -> Iterator[Line]:
    """Summarise a submission, and name the next command."""
    yield from submission_facts(done, artifacts)
    yield from wrote(done.path)
    yield "next", next_after_submission(done, artifacts)


def submission_facts(done: catsdogs.Submission, artifacts: Path) -> Iterator[Line]:
    """Summarise a submission."""
    yield "submission", f"{plural(done.images, 'row')}, clipped to [{done.clip:g}, {1 - done.clip:g}]"
    yield "", f"each row is the probability of {done.classes[1]}, not {done.classes[0]}"
    if done.stale:
        yield "", f"the training features changed after the head was trained; run {command('train', artifacts)}"
    if done.unreadable:
        yield "", f"{len(done.unreadable):,} unreadable; their value is the fraction of {done.classes[1]} in training:"
        yield from unreadable_lines(done.unreadable, f"in {_paths(artifacts).features}/*/unreadable.csv")


def next_after_submission(done: catsdogs.Submission | None, artifacts: Path) -> str:
    """Return the next command: Kaggle's own if the file has as many rows as Kaggle's submissions."""
    if done and done.images == KAGGLE_ROWS:
        return f"kaggle competitions submit -c {KAGGLE} -f {done.path} -m catsdogs"
    return command("predict IMAGE...", artifacts)


def report_lines(done: catsdogs.Report, artifacts: Path) -> Iterator[Line]:
    """Summarise a report, and which images are missing in it."""
    yield from _page_lines("report", plural(done.images, "image"), done)
    yield "next", command("review", artifacts)


def review_lines(done: catsdogs.Review, artifacts: Path) -> Iterator[Line]:
    """Summarise a page of images to judge, and name the next commands."""
    yield from _page_lines("review", f"{plural(len(done.queue), 'image')} to judge", done)
    texts = ("open it in a browser, judge, download the CSV", command("correct review.csv", artifacts))
    yield from block("next", (*texts, command("train", artifacts)))


def _page_lines(name: str, content: str, done: catsdogs.Report | catsdogs.Review) -> Iterator[Line]:
    yield name, f"one page with {content}, {done.size / 1e6:.1f} MB, in {done.seconds:.1f} s"
    if done.missing:
        yield "", f"{plural(done.missing, 'image')} could not be shown: the page gives the reasons"
    for problem in done.problems:
        yield "", problem
    yield from wrote(done.path)


def export_lines(done: catsdogs.Export) -> Iterator[Line]:
    """Summarise an export: inputs, output, and the differences that were measured."""
    yield "exported", f"backbone and head as one network, {done.bytes / 1e6:,.1f} MB, in {done.seconds:.1f} s"
    inputs = ((name, " x ".join(map(str, shape))) for name, shape in done.inputs.items())
    yield from block("input", (f"{name}: n x {shape}, RGB of 0 to 255" for name, shape in inputs))
    yield "output", f"probability: n x 1, of {done.classes[1]}, not {done.classes[0]}"
    where = f"from {done.source}" if done.source else "drawn for the check: the original images are missing"
    yield "checked", f"on {done.images} images {where}"
    yield "", f"largest difference from catsdogs in float32: {done.max_difference:.1e}"
    if done.precision != "float32":
        yield "", f"largest difference from catsdogs predict, in {done.precision}: {done.max_difference_predict:.1e}"
    yield from wrote(done.path)


def preparation_lines(done: catsdogs.Preparation) -> Iterator[Line]:
    """Summarise prepared images, which images are missing, and name the next command."""
    total = sum(done.images.values())
    yield "images", f"{total:,} of 224x224 pixels ({by_split(done.images)}), split with seed {done.seed}"
    if done.written:
        yield "", f"{done.written:,} written in {done.seconds:.1f} s, {done.written / done.seconds:.0f} images/s"
    else:
        yield "", "no image written: all exist already"
    if done.renumbered:
        yield "", f"{done.renumbered:,} with a new number, as theirs was missing or not unique:"
        yield "", f"see {done.folder / 'prepared.csv'}"
    yield "classes", " and ".join(done.classes)
    yield "skipped", f"{plural(done.unlabelled, 'image')} without a label, {plural(done.skipped, 'other file')}"
    if done.unreadable:
        yield "unreadable", f"{len(done.unreadable):,}, not written:"
        yield from unreadable_lines(done.unreadable, f"in {done.folder / 'prepared.csv'}")
    yield from wrote(done.folder)
    yield "next", f"{program()} run {done.folder}"


def demo_lines(done: catsdogs.Demo, artifacts: Path) -> Iterator[Line]:
    """Summarise the demo as a run, with the number of correct test predictions."""
    yield from block("data", (str(done.data), "synthetic images of cats and dogs"))
    if done.imagenet_error:
        yield "weights", "random, as the ImageNet weights could not be downloaded;"
        yield "", "give --weights FILE for a file that you have"
    *lines, _, _ = run_lines(done.run, artifacts)  # without the next commands
    yield from lines
    if done.run.submission:
        yield "correct", f"{done.correct} of {done.run.submission.images} test images"
    yield "next", command("report", artifacts)
    yield "", command("info", artifacts)
    yield "", f"{program()} run DATA, with your own images or Kaggle's zip"


def notebook_lines(path: Path) -> Iterator[Line]:
    """Name the notebook, and how to open it."""
    yield "notebook", f"{path}: a step-by-step tutorial on synthetic images"
    with_jupyter = "pip install jupyterlab &&" if program() == "catsdogs" else "uv run --with jupyterlab"
    yield "next", f"{with_jupyter} jupyter lab {path}"
    yield "", "or open it in another notebook editor"
