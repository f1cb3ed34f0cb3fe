"""Define the commands: each parses its options, calls one function of the library, and shows what it returns."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from typing import Any

import typer

import catsdogs
from catsdogs.cli import listings, options, summaries
from catsdogs.cli.console import Line, show
from catsdogs.cli.options import ARTIFACTS
from catsdogs.cli.progress import progress_and_lock, progress_bar
from catsdogs.errors import CatsDogsError

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


def _show(to_dict: Callable[[], dict[str, Any]], lines: Iterable[Line], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(to_dict(), indent=2))
    else:
        show(lines)


@app.callback()
def _global_options(version: options.Version = False) -> None:
    pass


@app.command(epilog="Example: catsdogs run dogs-vs-cats-redux-kernels-edition.zip")
def run(
    data: options.Data,
    artifacts: options.Artifacts = ARTIFACTS,
    weights: options.Weights = None,
    views: options.Views = None,
    engine: options.Engine = "auto",
    precision: options.Precision = "auto",
    classes: options.Classes = None,
    clip: options.Clip = None,
    prune: options.Prune = False,
    fail_fast: options.FailFast = False,
    no_near_duplicates: options.NoNearDuplicates = False,
    wait: options.Wait = False,
) -> None:
    """Do everything: extract features, train the head, write the submission.

    What is there and still valid is not done again.
    """
    with progress_and_lock(artifacts, wait) as progress:
        done = catsdogs.run(
            data,
            artifacts=artifacts,
            weights=weights,
            compute=catsdogs.ComputeOptions(views=views and views.split(","), engine=engine, precision=precision),
            classes=classes,
            clip=clip,
            prune=prune,
            fail_fast=fail_fast,
            near_duplicates=not no_near_duplicates,
            progress=progress,
        )
    show(summaries.run_lines(done, artifacts))


@app.command(epilog="Example: catsdogs extract photographs/ --views 224,224m --artifacts mine")
def extract(
    data: options.Data,
    artifacts: options.Artifacts = ARTIFACTS,
    weights: options.Weights = None,
    views: options.Views = None,
    engine: options.Engine = "auto",
    precision: options.Precision = "auto",
    classes: options.Classes = None,
    prune: options.Prune = False,
    fail_fast: options.FailFast = False,
    no_near_duplicates: options.NoNearDuplicates = False,
    wait: options.Wait = False,
) -> None:
    """Compute the features of every image that is not cached yet."""
    with progress_and_lock(artifacts, wait) as progress:
        done = catsdogs.extract(
            data,
            artifacts=artifacts,
            weights=weights,
            compute=catsdogs.ComputeOptions(views=views and views.split(","), engine=engine, precision=precision),
            classes=classes,
            prune=prune,
            fail_fast=fail_fast,
            near_duplicates=not no_near_duplicates,
            progress=progress,
        )
    show(summaries.extraction_lines(done, artifacts))


@app.command(epilog="Example: catsdogs train --learning-curve")
def train(
    artifacts: options.Artifacts = ARTIFACTS,
    exclude: options.Exclude = None,
    holdout: options.Holdout = None,
    nested: options.Nested = False,
    learning_curve: options.LearningCurve = False,
    no_near_duplicates: options.NoNearDuplicates = False,
    wait: options.Wait = False,
) -> None:
    """Train the head on the cached features, and say how good it is."""
    studies = [name for name, wanted in (("nested", nested), ("learning_curve", learning_curve)) if wanted]
    with progress_and_lock(artifacts, wait) as progress:
        done = catsdogs.train(
            artifacts,
            exclude=exclude,
            holdout=holdout,
            studies=studies,
            near_duplicates=not no_near_duplicates,
            progress=progress,
        )
    show(summaries.training_lines(done, artifacts))


@app.command(epilog="Example: catsdogs submit --clip 0.01")
def submit(artifacts: options.Artifacts = ARTIFACTS, clip: options.Clip = None, wait: options.Wait = False) -> None:
    """Score the cached test features, and write submission.csv."""
    with progress_and_lock(artifacts, wait):
        done = catsdogs.submit(artifacts, clip=clip)
    show(summaries.submission_lines(done, artifacts))


@app.command(epilog="Example: catsdogs report")
def report(artifacts: options.Artifacts = ARTIFACTS, wait: options.Wait = False) -> None:
    """Write report.html: figures, plots, and the pictures that are worth a look."""
    with progress_and_lock(artifacts, wait) as progress:
        done = catsdogs.report(artifacts, progress=progress)
    show(summaries.report_lines(done, artifacts))


@app.command(epilog="Example: catsdogs predict cat.jpg dogs/ --sort")
def predict(
    images: options.Images,
    artifacts: options.Artifacts = ARTIFACTS,
    weights: options.Weights = None,
    as_json: options.Json = False,
    as_csv: options.Csv = False,
    sort: options.Sort = False,
    no_preview: options.NoPreview = False,
) -> None:
    """Say of each image what it is, and how sure that is."""
    # Here, as all other commands would wait for Rich's tables.
    from catsdogs.cli.predictions import predictions_csv, show_predictions
    from catsdogs.cli.previews import preview_limit

    if as_json and as_csv:
        raise CatsDogsError("--json and --csv cannot both be", "Give one of them")
    if "-" in images and os.isatty(0):
        raise CatsDogsError("- is standard input, and nothing is piped there", "Try catsdogs predict - < cat.jpg")
    inputs = [os.fdopen(0, "rb", closefd=False) if image == "-" else image for image in images]
    limit = 0 if no_preview or as_json or as_csv else preview_limit()
    with progress_bar() as progress:
        predictions = catsdogs.predict(inputs, artifacts=artifacts, weights=weights, previews=limit, progress=progress)
    if sort:
        predictions.sort(key=lambda prediction: prediction.certainty)
    if as_json:
        print(json.dumps([prediction.to_dict() for prediction in predictions], indent=2))
    elif as_csv:
        sys.stdout.buffer.write(predictions_csv(predictions))
    else:
        show_predictions(predictions)
    if any(prediction.reason for prediction in predictions):
        raise typer.Exit(1)


@app.command(epilog="Example: catsdogs evaluate cats-dogs-testing/")
def evaluate(
    data: options.Data,
    artifacts: options.Artifacts = ARTIFACTS,
    weights: options.Weights = None,
    as_json: options.Json = False,
) -> None:
    """Say how good the head is on the labelled images of DATA; nothing is written."""
    with progress_bar() as progress:
        done = catsdogs.evaluate(data, artifacts=artifacts, weights=weights, progress=progress)
    _show(done.to_dict, listings.evaluation_lines(done), as_json=as_json)


@app.command(epilog="Example: catsdogs export keras")
def export(
    format: options.Format,
    out: options.ExportFile = None,
    artifacts: options.Artifacts = ARTIFACTS,
    weights: options.Weights = None,
    as_json: options.Json = False,
    wait: options.Wait = False,
) -> None:
    """Write backbone and head as one network for other programs: a picture's pixels in, its probability out.

    It is checked on pictures of yours against what catsdogs computes. For onnx: pip install onnx onnxruntime tf2onnx
    """
    with progress_and_lock(artifacts, wait) as progress:
        done = catsdogs.export(format, out=out, artifacts=artifacts, weights=weights, progress=progress)
    _show(done.to_dict, summaries.export_lines(done), as_json=as_json)


@app.command(epilog="Example: catsdogs info --json")
def info(artifacts: options.Artifacts = ARTIFACTS, as_json: options.Json = False) -> None:
    """Say what the artifacts are, what made them, and what is stale and the command that makes it anew."""
    found = catsdogs.info(artifacts)
    _show(found.to_dict, listings.info_lines(found), as_json=as_json)


@app.command(epilog="Example: catsdogs verify")
def verify(artifacts: options.Artifacts = ARTIFACTS) -> None:
    """Hold every file against its checksum: say that all is well, or what is not and what mends it."""
    found = catsdogs.verify(artifacts)
    show(listings.verification_lines(found))
    if found.problems:
        raise typer.Exit(1)


@app.command(epilog="Example: catsdogs prepare photographs/ prepared/")
def prepare(
    data: options.Data,
    out: options.PreparedFolder,
    seed: options.Seed = 0,
    classes: options.Classes = None,
    wait: options.Wait = False,
) -> None:
    """Write the labelled images as 224x224 PNGs, 85 % to train on and 15 % to test, as in 2017."""
    with progress_and_lock(out, wait) as progress:
        done = catsdogs.prepare(data, out, seed=seed, classes=classes, progress=progress)
    show(summaries.preparation_lines(done))


@app.command(epilog="Example: catsdogs demo")
def demo(artifacts: options.Artifacts = ARTIFACTS / "demo", weights: options.Weights = None) -> None:
    """Draw cats and dogs, and do the whole job on them; it needs nothing."""
    with progress_bar() as progress:
        done = catsdogs.demo(artifacts, weights=weights, progress=progress)
    show(summaries.demo_lines(done, artifacts))


@app.command("bench", epilog="Example: catsdogs bench photographs/ --images 100")
def benchmark(
    data: options.Data,
    artifacts: options.Artifacts = ARTIFACTS,
    weights: options.Weights = None,
    images: options.ImageCount = 300,
    as_json: options.Json = False,
) -> None:
    """Measure how many images a second this machine does, stage by stage, beside Keras' own recipe."""
    with progress_bar() as progress:
        done = catsdogs.benchmark(data, artifacts=artifacts, weights=weights, images=images, progress=progress)
    _show(done.to_dict, listings.benchmark_lines(done), as_json=as_json)


@app.command(epilog="Example: catsdogs notebook")
def notebook() -> None:
    """Write a Jupyter notebook that walks through the whole job, with pictures, into the current folder."""
    show(summaries.notebook_lines(catsdogs.notebook()))
