"""Results come in; what a person sees in a terminal goes out.

Results go to standard output, progress and errors to standard error.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .artifacts import Artifacts
from .errors import CatsDogsError, printable

if TYPE_CHECKING:  # what is shown need not be loaded to show the help
    from rich.progress import Task

    from .demonstration import Demo
    from .evaluation import Evaluation
    from .extraction import Extraction
    from .labelling import Labelled
    from .pipeline import Run
    from .progress import Progress
    from .reporting import Report
    from .submission import Submission
    from .training import Training
    from .verification import Verification

Line = tuple[str, str]
"""A name, which is shown in bold, and a text."""

KAGGLE, KAGGLE_ROWS = "dogs-vs-cats-redux-kernels-edition", 12_500
"""The competition, and how many rows it takes."""

_PATIENCE, _RECENT = 1.0, 10.0
"""Seconds before a rate means something, and over which it is taken: images that are cached already rush past."""

_NAMED = 5
_WIDTH = 68
"""Columns of text beside a name: 80 in all."""


def program() -> str:
    """Return what to type for another command: in a clone that nobody installed, uv knows the name."""
    return "uv run catsdogs" if Path(sys.argv[0]).name == "cli.py" else "catsdogs"


def show(lines: Iterable[Line]) -> None:
    """Write lines of a bold name and a text to standard output; lines are never broken, for those who pipe them."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for name, text in lines:
        console.print(Text.assemble((f"{name:<12}", "bold"), printable(text)), soft_wrap=True)


def show_error(error: CatsDogsError) -> None:
    """Write what happened and what to do as one line to standard error."""
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble(("error:", "bold red"), " ", str(error))
    Console(stderr=True, highlight=False).print(line, soft_wrap=True)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show progress with rate and time left on standard error, on what takes over a second, and only to people."""
    if not sys.stderr.isatty():
        yield lambda step, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[state]}"))
    # TensorFlow's chatter is kept from descriptor 2 while it loads; the bar has a descriptor of its own.
    with (
        os.fdopen(os.dup(2), "w") as terminal,
        Bar(*columns, console=Console(file=terminal), transient=True, speed_estimate_period=_RECENT) as bar,
    ):
        current, task = "", bar.add_task("", visible=False, state="")

        def update(step: str, done: int, total: int) -> None:
            nonlocal current, task
            if step != current:
                bar.remove_task(task)
                current, task = step, bar.add_task(step, total=total or None, state="")
            bar.update(task, completed=done, total=total or None)
            bar.update(task, state=_state(bar.tasks[-1]))

        yield update


def _state(task: Task) -> str:
    """Say how much is done, how fast of late, and how long the rest will take."""
    if task.total is None:
        return ""
    state = f"{task.completed:,.0f}/{task.total:,.0f}"
    if not task.speed or task.time_remaining is None or (task.elapsed or 0) < _PATIENCE:
        return state
    left = round(task.time_remaining)
    return f"{state}  {task.speed:,.0f}/s  {left // 60}:{left % 60:02d} left"


def extraction_lines(done: Extraction, artifacts: Path) -> Iterator[Line]:
    """Say what became of the images, and what comes next."""
    yield from _extraction_lines(done, artifacts)
    yield from _look_at(Artifacts(artifacts).features)
    yield "next", _command("train", artifacts)


def _extraction_lines(done: Extraction, artifacts: Path) -> Iterator[Line]:
    unreadable = {name: reason for split in done.unreadable.values() for name, reason in split.items()}
    total, splits = sum(done.images.values()), ", ".join(f"{count:,} {split}" for split, count in done.images.items())
    yield "images", f"{total:,}: {total - len(unreadable):,} done, {len(unreadable):,} unreadable ({splits})"
    yield from _named(unreadable, f"in {Artifacts(artifacts).features}/*/unreadable.csv")
    yield "classes", " and ".join(done.classes)
    yield "", f"{_counted(done.passed_over, 'other file')} passed over"
    for path in done.cut_short:
        yield "", f"{path} is CUT SHORT: images may be missing; fetch it again"
    if done.computed:
        rate = f", {done.rate:.0f} images/s" if done.rate else ""
        yield "features", f"{done.computed:,} computed with {done.backbone} in {done.seconds:.1f} s{rate}"
    else:
        yield "features", f"none computed: all were cached, made with {done.backbone}"
    yield "duplicates", _duplicates(done.duplicates)
    if done.backbone.startswith("random"):
        yield "", "RANDOM weights: to try and to time; the predictions mean nothing"


def training_lines(done: Training, artifacts: Path) -> Iterator[Line]:
    """Say how good the head is, where to look, and what comes next."""
    yield from _metrics_lines(done.metrics)
    where = Artifacts(artifacts)
    yield "suspects", f"{done.suspects:,} training images whose label may be wrong, in {where.suspects}"
    yield "", f"trained in {done.seconds:.1f} s"
    yield from _look_at(where.metrics, where.predictions)
    yield "next", _command("submit", artifacts)
    yield "", _command("report", artifacts)
    yield "", _command("label IMAGE...", artifacts)


def _metrics_lines(metrics: dict[str, Any]) -> Iterator[Line]:
    yield from _score_lines("head", metrics, "out of fold")
    left_out = f", {metrics['left_out']:,} left out" if metrics["left_out"] else ""
    fitted = f"{metrics['transform']}, C {metrics['C']:.3g}"
    yield "", f"logistic regression on {metrics['images']:,} images{left_out}, {fitted}"
    clip = metrics["clip"]
    yield "", f"clipped at {clip['chosen']:g} {clip['log_loss']:.4f}, at 0.05 as in 2017 {clip['log_loss_at_0.05']:.4f}"
    if nested := metrics.get("nested"):
        yield from _score_lines("nested", nested, "all chosen without the fold")
    if holdout := metrics.get("holdout"):
        yield from _score_lines("holdout", holdout, f"{holdout['images']:,} held out")
    if test := metrics.get("test"):
        yield from _score_lines("test", test, f"{test['images']:,} labelled images, not trained on")
    for name, point in zip(chain(["curve"], repeat("")), metrics.get("curve", []), strict=False):
        low, high = point["interval"]
        yield name, f"{point['images']:>7,} images  log loss {point['log_loss']:.4f}  [{low:.4f}, {high:.4f}]"


def _score_lines(name: str, scores: dict[str, Any], how: str) -> Iterator[Line]:
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


def submission_lines(done: Submission, artifacts: Path) -> Iterator[Line]:
    """Say what was written for Kaggle, and what comes next."""
    yield from _submission_lines(done, artifacts)
    yield from _look_at(done.path)
    yield "next", _after_submission(done, artifacts)


def _submission_lines(done: Submission, artifacts: Path) -> Iterator[Line]:
    yield "submission", f"{done.images:,} rows, clipped to [{done.clip:g}, {1 - done.clip:g}]"
    yield "", f"each a probability of {done.classes[1]}, against {done.classes[0]}"
    if done.stale:
        yield "", f"by a head of OLDER training features: {_command('train', artifacts)} makes a new one"
    if done.unreadable:
        yield "", f"{len(done.unreadable):,} unreadable, with the training share of {done.classes[1]} as their label:"
        yield from _named(done.unreadable, f"in {Artifacts(artifacts).features}/*/unreadable.csv")


def _after_submission(done: Submission | None, artifacts: Path) -> str:
    if done and done.images == KAGGLE_ROWS:
        return f"kaggle competitions submit -c {KAGGLE} -f {done.path} -m catsdogs"
    return _command("label IMAGE...", artifacts)


def run_lines(done: Run, artifacts: Path) -> Iterator[Line]:
    """Say what was done, where to look, and what comes next."""
    where = Artifacts(artifacts)
    yield from _extraction_lines(done.extraction, artifacts)
    if not done.metrics:
        yield "head", "none: there are no training images, with labels, among what was extracted"
        yield from _look_at(where.features)
        yield "next", _command("run DATA", artifacts) + ", DATA with training images"
        return
    yield from _metrics_lines(done.metrics)
    if not done.trained:
        yield "", "trained before, and still valid"
    if done.submission:
        yield from _submission_lines(done.submission, artifacts)
    else:
        yield "submission", "none: there are no test images without labels"
    yield from _look_at(where.metrics, where.predictions, *([where.submission] if done.submission else []))
    yield "next", _after_submission(done.submission, artifacts)


def demo_lines(done: Demo, artifacts: Path) -> Iterator[Line]:
    """Say the same of the demo, and how many test pictures it got right."""
    yield "pictures", f"cartoons of cats and dogs, drawn into {done.data}"
    if done.without_imagenet:
        yield "weights", "RANDOM ones had to do, as those of ImageNet could not be downloaded;"
        yield "", "the README says how to do without internet"
    *lines, (_, _) = run_lines(done.run, artifacts)
    yield from lines
    if done.run.submission:
        yield "right", f"{done.right} of {done.run.submission.images} test pictures"
    yield "next", _command("info", artifacts)
    yield "", f"{program()} run DATA, with pictures of your own or Kaggle's zip"


def info_lines(found: dict[str, Any]) -> Iterator[Line]:
    """Say what the artifacts are, what made them, and what is to be done about them."""
    features, head, artifacts = found["features"], found["head"], Path(found["artifacts"])
    origin = features["origin"]
    yield "artifacts", found["artifacts"]
    for split, entry in features["splits"].items():
        if entry["complete"]:
            state = f"{entry['unreadable']:,} unreadable, view {', '.join(features['views'])}"
        else:
            state = f"NOT complete: {_command('extract', artifacts)} goes on, with the same DATA"
        yield split, f"{entry['images']:,} images, {state}"
    yield "classes", " and ".join(features["classes"])
    if found["duplicates"]:
        yield "duplicates", _duplicates(found["duplicates"])
    yield "backbone", f"{origin['form']}, SHA-256 {origin['sha256'][:16]}..."
    yield "", f"{origin['engine']} at {origin['precision']}"
    if origin["versions"]:
        yield "", _pairs(origin["versions"])
    yield from zip(chain(["pixels"], repeat("")), textwrap.wrap(origin["pixels"], _WIDTH), strict=False)
    if not head:
        yield "head", f"none yet: {_command('train', artifacts)} makes one"
    elif head["stale"]:
        yield "head", f"NOT valid: {head['stale']}"
        yield "", f"{_command('train', artifacts)} makes a new one"
    else:
        yield from _metrics_lines(found["metrics"])
    for name, (step, facts) in zip(chain(["timings"], repeat("")), found["timings"].items(), strict=False):
        yield name, f"{step}: {facts.get('images', 0):,} images in {facts.get('seconds', 0)} s on {facts.get('host')}"
    for name, (what, path) in zip(chain(["source"], repeat("")), found["source"].items(), strict=False):
        yield name, f"{what}: {path}"
    yield "files", f"{len(found['files']):,}, {sum(found['files'].values()) / 1e6:,.1f} MB"
    for name, size in found["files"].items():
        yield "", f"{size:>13,}  {name}"


def verification_lines(found: Verification) -> Iterator[Line]:
    """Say in one line that all is well, or in one each what is not and what mends it."""
    for problem in found.problems:
        yield "not well", problem
    if not found.problems:
        rows = ", ".join(f"{count:,} {split}" for split, count in found.images.items())
        others = [name for name, there in (("head", found.head), ("submission", found.submission)) if there]
        yield "all is well", " and ".join((f"{rows} images: every row matches its checksum", *others))


def report_lines(done: Report, artifacts: Path) -> Iterator[Line]:
    """Say what was written to be looked at, and which pictures are not in it."""
    yield (
        "report",
        f"one page with {_counted(done.pictures, 'picture')}, {done.size / 1e6:.1f} MB, in {done.seconds:.1f} s",
    )
    if done.missing:
        yield "", f"{_counted(done.missing, 'image')} WITHOUT a picture: the page says why of each"
    for problem in done.problems:
        yield "", problem
    yield from _look_at(done.path)
    yield "next", _command("label IMAGE...", artifacts)


def label_lines(answers: Sequence[Labelled]) -> Iterator[Line]:
    """Say of each image what it is, and how sure that is."""
    for answer in answers:
        if answer.label is None or answer.probability is None:
            yield "unreadable", f"{answer.image}: {answer.reason}"
        else:
            sure = max(answer.probability, 1 - answer.probability)
            yield answer.label, f"{sure:7.2%}  {answer.image}"


def evaluation_lines(done: Evaluation) -> Iterator[Line]:
    """Say how good the head is on other images, and which of them do not count."""
    yield from _score_lines("head", done.scores, f"{done.images:,} labelled images, {' and '.join(done.classes)}")
    if done.seen:
        yield "", f"{done.seen:,} of them were TRAINED on, and flatter these figures"
    yield "passed over", f"{done.unlabelled:,} images without a label, {_counted(done.passed_over, 'other file')}"
    if done.unreadable:
        yield "unreadable", f"{len(done.unreadable):,}, which do not count:"
        yield from _named(done.unreadable, "by --json")


def _duplicates(counts: dict[str, int]) -> str:
    if not counts:
        return "not looked for yet: the other split is damaged, see verify"
    if not counts["pairs"]:
        return "none: no two images are the same, or nearly so"
    return (
        f"{_counted(counts['pairs'], 'pair')}, {counts['identical']:,} of equal bytes; "
        f"{counts['across_classes']:,} across classes, {counts['across_splits']:,} across train and test"
    )


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _look_at(*paths: Path) -> Iterator[Line]:
    yield from zip(chain(["look at"], repeat("")), map(str, paths), strict=False)


def _named(unreadable: dict[str, str], where: str) -> Iterator[Line]:
    for name, reason in list(unreadable.items())[:_NAMED]:
        yield "", f"{name}: {reason}"
    if len(unreadable) > _NAMED:
        yield "", f"and {len(unreadable) - _NAMED:,} more, all {where}"


def _command(name: str, artifacts: Path) -> str:
    return f"{program()} {name}" + ("" if artifacts == Path("artifacts") else f" --artifacts {artifacts}")


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
