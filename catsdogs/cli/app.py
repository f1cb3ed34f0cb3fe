"""Options come in and become one library call; its result goes to the terminal."""

import io
import json
import os
import shutil
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

import catsdogs
from catsdogs.cli import listings, predictions, summaries
from catsdogs.cli.console import show, show_error
from catsdogs.cli.options import (
    FEATURES,
    HERE,
    Artifacts,
    Classes,
    Clip,
    Csv,
    Data,
    Engine,
    Exclude,
    FailFast,
    Holdout,
    Json,
    LearningCurve,
    Nested,
    Precision,
    Prune,
    Views,
    Wait,
    Weights,
)
from catsdogs.cli.progress import progress_bar
from catsdogs.errors import CatsDogsError
from catsdogs.progress import Progress

_COLUMNS = shutil.get_terminal_size().columns

app = typer.Typer(
    name="catsdogs",
    help="Cats or dogs: a frozen ResNet50's features cached once, a head on them trained in seconds.",
    # In a narrow terminal Rich's panels would cut the options' names off; plain help is never of less than 50 columns
    # unless it is told.
    rich_markup_mode="rich" if _COLUMNS >= 60 else None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "terminal_width": min(_COLUMNS, 80)},
)

_INTERRUPTED = 130
"""Exit code after Ctrl-C (128 + SIGINT)."""


def _version(asked: bool) -> None:
    if asked:
        print(f"catsdogs {catsdogs.__version__}")
        raise typer.Exit


def _held(artifacts: Path, wait: bool, progress: Progress) -> AbstractContextManager[None]:
    return catsdogs.lock(artifacts, progress=progress) if wait else nullcontext()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: catsdogs run dogs-vs-cats-redux-kernels-edition.zip")
def run(
    data: Data,
    artifacts: Artifacts = HERE,
    weights: Weights = None,
    views: Views = None,
    engine: Engine = "auto",
    precision: Precision = "auto",
    classes: Classes = None,
    clip: Clip = None,
    prune: Prune = False,
    fail_fast: FailFast = False,
    wait: Wait = False,
) -> None:
    """Do everything: extract features, train the head, write the submission.

    What is there and still valid is not done again.
    """
    with progress_bar() as progress, _held(artifacts, wait, progress):
        done = catsdogs.run(
            data,
            artifacts=artifacts,
            weights=weights,
            compute=_compute(views, engine, precision),
            classes=classes,
            clip=clip,
            prune=prune,
            fail_fast=fail_fast,
            progress=progress,
        )
    show(summaries.run_lines(done, artifacts))


@app.command(epilog="Example: catsdogs extract photographs/ --views 224,224m --artifacts mine")
def extract(
    data: Data,
    artifacts: Artifacts = HERE,
    weights: Weights = None,
    views: Views = None,
    engine: Engine = "auto",
    precision: Precision = "auto",
    classes: Classes = None,
    prune: Prune = False,
    fail_fast: FailFast = False,
    wait: Wait = False,
) -> None:
    """Compute the features of every image that is not cached yet."""
    with progress_bar() as progress, _held(artifacts, wait, progress):
        done = catsdogs.extract(
            data,
            artifacts=artifacts,
            weights=weights,
            compute=_compute(views, engine, precision),
            classes=classes,
            prune=prune,
            fail_fast=fail_fast,
            progress=progress,
        )
    show(summaries.extraction_lines(done, artifacts))


def _compute(views: str | None, engine: str, precision: str) -> "catsdogs.ComputeOptions":
    return catsdogs.ComputeOptions(
        views=None if views is None else views.split(","), engine=engine, precision=precision
    )


@app.command(epilog="Example: catsdogs train --learning-curve")
def train(
    artifacts: Artifacts = HERE,
    exclude: Exclude = None,
    holdout: Holdout = None,
    nested: Nested = False,
    learning_curve: LearningCurve = False,
    wait: Wait = False,
) -> None:
    """Train the head on the cached features, and say how good it is."""
    studies = [name for name, wanted in (("nested", nested), ("learning_curve", learning_curve)) if wanted]
    with progress_bar() as progress, _held(artifacts, wait, progress):
        done = catsdogs.train(artifacts, exclude=exclude, holdout=holdout, studies=studies, progress=progress)
    show(summaries.training_lines(done, artifacts))


@app.command(epilog="Example: catsdogs submit --clip 0.01")
def submit(artifacts: Artifacts = HERE, clip: Clip = None, wait: Wait = False) -> None:
    """Score the cached test features, and write submission.csv."""
    with progress_bar() as progress, _held(artifacts, wait, progress):
        done = catsdogs.submit(artifacts, clip=clip)
    show(summaries.submission_lines(done, artifacts))


@app.command(epilog="Example: catsdogs report")
def report(artifacts: Artifacts = HERE, wait: Wait = False) -> None:
    """Write report.html: figures, plots, and the pictures that are worth a look."""
    with progress_bar() as progress, _held(artifacts, wait, progress):
        done = catsdogs.report(artifacts, progress=progress)
    show(summaries.report_lines(done, artifacts))


@app.command(epilog="Example: catsdogs predict cat.jpg dogs/ --sort")
def predict(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE",
            help="Files, folders or zips of files; - is one image's bytes on standard input.",
            show_default=False,
        ),
    ],
    artifacts: Artifacts = HERE,
    weights: Weights = None,
    as_json: Json = False,
    as_csv: Csv = False,
    sort: Annotated[bool, typer.Option("--sort", help="The most uncertain first.")] = False,
    no_preview: Annotated[bool, typer.Option("--no-preview", help="Show no pictures in the terminal.")] = False,
) -> None:
    """Say of each image what it is, and how sure that is."""
    if as_json and as_csv:
        raise CatsDogsError("--json and --csv cannot both be", "Give one of them")
    if "-" in images and os.isatty(0):
        raise CatsDogsError("- is standard input, and nothing is piped there", "Try catsdogs predict - < cat.jpg")
    given = [os.fdopen(0, "rb", closefd=False) if image == "-" else image for image in images]
    pictures = 0 if no_preview or as_json or as_csv else predictions.previews_shown()
    with progress_bar() as progress:
        answers = catsdogs.predict(given, artifacts=artifacts, weights=weights, pictures=pictures, progress=progress)
    if sort:
        answers.sort(key=lambda answer: answer.certainty)
    if as_json:
        print(json.dumps([answer.to_dict() for answer in answers], indent=2))
    elif as_csv:
        sys.stdout.buffer.write(predictions.predictions_csv(answers))
    else:
        predictions.show_predictions(answers)
    if any(answer.reason for answer in answers):
        raise typer.Exit(1)


@app.command(epilog="Example: catsdogs evaluate cats-dogs-testing/")
def evaluate(data: Data, artifacts: Artifacts = HERE, weights: Weights = None, as_json: Json = False) -> None:
    """Say how good the head is on the labelled images of DATA; nothing is written."""
    with progress_bar() as progress:
        done = catsdogs.evaluate(data, artifacts=artifacts, weights=weights, progress=progress)
    if as_json:
        print(json.dumps(done.to_dict(), indent=2))
    else:
        show(listings.evaluation_lines(done))


@app.command(epilog="Example: catsdogs export keras")
def export(
    form: Annotated[str, typer.Argument(metavar="FORM", help="keras or onnx.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where it goes. Default: catsdogs.FORM among the artifacts.", show_default=False
        ),
    ] = None,
    artifacts: Artifacts = HERE,
    weights: Weights = None,
    as_json: Json = False,
    wait: Wait = False,
) -> None:
    """Write backbone and head as one network for other programs: a picture's pixels in, its probability out.

    It is checked on pictures of yours against what catsdogs computes. For onnx: pip install onnx onnxruntime tf2onnx
    """
    with progress_bar() as progress, _held(artifacts, wait, progress):
        done = catsdogs.export(form, out=out, artifacts=artifacts, weights=weights, progress=progress)
    if as_json:
        print(json.dumps(done.to_dict(), indent=2))
    else:
        show(summaries.export_lines(done))


@app.command(epilog="Example: catsdogs info --json")
def info(artifacts: Artifacts = HERE, as_json: Json = False) -> None:
    """Say what the artifacts are, what made them, and what is stale and the command that makes it anew."""
    found = catsdogs.info(artifacts)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
    else:
        show(listings.info_lines(found))


@app.command(epilog="Example: catsdogs verify")
def verify(artifacts: Artifacts = HERE) -> None:
    """Hold every file against its checksum: say that all is well, or what is not and what mends it."""
    found = catsdogs.verify(artifacts)
    show(listings.verification_lines(found))
    if found.problems:
        raise typer.Exit(1)


@app.command(epilog="Example: catsdogs prepare photographs/ prepared/")
def prepare(
    data: Data,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write.", show_default=False)],
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    classes: Classes = None,
    wait: Wait = False,
) -> None:
    """Write the labelled images as 224x224 PNGs, 85 % to train on and 15 % to test, as in 2017."""
    with progress_bar() as progress, _held(out, wait, progress):
        done = catsdogs.prepare(data, out, seed=seed, classes=classes, progress=progress)
    show(summaries.preparation_lines(done))


@app.command(epilog="Example: catsdogs demo")
def demo(artifacts: Artifacts = HERE / "demo", weights: Weights = None) -> None:
    """Draw cats and dogs, and do the whole job on them; it needs nothing."""
    with progress_bar() as progress:
        done = catsdogs.demo(artifacts, weights=weights, progress=progress)
    show(summaries.demo_lines(done, artifacts))


@app.command(epilog="Example: catsdogs bench photographs/ --images 100")
def bench(
    data: Data,
    artifacts: Artifacts = HERE,
    weights: Weights = None,
    images: Annotated[
        int, typer.Option(help="How many images to take, evenly spread.", rich_help_panel=FEATURES)
    ] = 300,
    as_json: Json = False,
) -> None:
    """Measure how many images a second this machine does, stage by stage, beside Keras' own recipe."""
    with progress_bar() as progress:
        done = catsdogs.benchmark(data, artifacts=artifacts, weights=weights, images=images, progress=progress)
    if as_json:
        print(json.dumps(done.to_dict(), indent=2))
    else:
        show(listings.benchmark_lines(done))


@app.command(epilog="Example: catsdogs notebook")
def notebook() -> None:
    """Write a Jupyter notebook that walks through the whole job, with pictures, into the current folder."""
    show(summaries.notebook_lines(catsdogs.notebook()))


def main() -> None:
    """Start the program; what a user can mend becomes one line on standard error and exit code 1."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names that the terminal's encoding lacks end nothing
    try:
        app(prog_name="catsdogs")
    except CatsDogsError as error:
        _fail(error)
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        _fail(CatsDogsError(what, "Mend that, and run the same command again"))
    except MemoryError:
        _fail(CatsDogsError("there is not enough memory", "What is done is kept: make some free, and run it again"))
    except SystemExit as ended:
        if ended.code == _INTERRUPTED:
            print("interrupted: nothing that was done is lost", file=sys.stderr)
        raise


def _fail(error: CatsDogsError) -> None:
    if os.environ.get("CATSDOGS_DEBUG") == "1":
        raise error
    show_error(error)
    sys.exit(1)
