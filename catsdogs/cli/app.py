"""Define the commands: each parses its options, calls one function of the library, and returns its output."""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import typer

import catsdogs
from catsdogs.choices import Study
from catsdogs.cli import listings, options, summaries
from catsdogs.cli.command import Command, Group, Output, with_shared_options
from catsdogs.cli.options import ARTIFACTS
from catsdogs.cli.progress import show_step
from catsdogs.errors import OptionError

app = typer.Typer(
    name="catsdogs",
    cls=Group,
    help="Classify images of two classes, such as cats and dogs.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _command(example: str, name: str | None = None, *, locks: str = "") -> Callable[[Callable[..., Output]], None]:
    def register(function: Callable[..., Output]) -> None:
        command = with_shared_options(function, locks)
        app.command(name, cls=Command, epilog=f"Example: catsdogs {example}")(command)

    return register


def _compute(views: str | None, engine: options.Engine, precision: options.Precision) -> "catsdogs.ComputeOptions":
    return catsdogs.ComputeOptions(views=views and views.split(","), engine=engine, precision=precision)


@app.callback(invoke_without_command=True)
def _program(context: typer.Context, version: options.Version = False) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


@_command("run dogs-vs-cats-redux-kernels-edition.zip", locks="artifacts")
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
) -> Output:
    """Extract features, train the head and write the submission."""
    done = catsdogs.run(
        data,
        artifacts=artifacts,
        weights=weights,
        compute=_compute(views, engine, precision),
        classes=classes,
        clip=clip,
        prune=prune,
        fail_fast=fail_fast,
        near_duplicates=not no_near_duplicates,
        progress=show_step,
    )
    return Output(done.to_dict, summaries.run_lines(done, artifacts))


@_command("extract photographs/ --views 224,224m --artifacts mine", locks="artifacts")
def extract(
    data: options.Data,
    artifacts: options.RowsPlace = str(ARTIFACTS),
    weights: options.Weights = None,
    views: options.Views = None,
    engine: options.Engine = "auto",
    precision: options.Precision = "auto",
    classes: options.Classes = None,
    prune: options.Prune = False,
    fail_fast: options.FailFast = False,
    no_near_duplicates: options.NoNearDuplicates = False,
    part: options.PartOption = None,
    ray: options.Ray = None,
    workers: options.Workers = None,
    parquet: options.Parquet = None,
    dry_run: options.DryRun = False,
) -> Output:
    """Compute the features of all images that are not cached yet."""
    if dry_run:
        found = catsdogs.scan(data, artifacts=artifacts, classes=classes, part=part)
        given = {"--classes": classes, "--weights": weights, "--part": part}
        return Output(found.to_dict, listings.scan_lines(found, data, artifacts, given), is_summary=False)
    done = catsdogs.extract(
        data,
        artifacts=artifacts,
        weights=weights,
        compute=_compute(views, engine, precision),
        classes=classes,
        prune=prune,
        fail_fast=fail_fast,
        near_duplicates=not no_near_duplicates,
        part=part,
        ray=ray,
        workers=workers,
        parquet=parquet,
        progress=show_step,
    )
    return Output(done.to_dict, summaries.extraction_lines(done, artifacts))


@_command("merge artifacts parts/1 parts/2", locks="artifacts")
def merge(
    artifacts: options.MergedFolder,
    folders: options.PartFolders,
    prune: options.Prune = False,
    no_near_duplicates: options.NoNearDuplicates = False,
) -> Output:
    """Merge parts that extract computed into one cache."""
    done = catsdogs.merge(artifacts, folders, prune=prune, near_duplicates=not no_near_duplicates, progress=show_step)
    return Output(done.to_dict, listings.merge_lines(done, artifacts))


@_command("subset rows/ --images 25000", locks="artifacts")
def subset(
    rows: options.Rows,
    images: options.SubsetSize = 25_000,
    seed: options.SubsetSeed = 0,
    artifacts: options.Artifacts = ARTIFACTS,
    prune: options.Prune = False,
) -> Output:
    """Make a cache of a sample of the features in Parquet."""
    done = catsdogs.subset(rows, images=images, seed=seed, artifacts=artifacts, prune=prune, progress=show_step)
    return Output(done.to_dict, summaries.subset_lines(done, artifacts))


@_command("score rows/ scores/")
def score(rows: options.Rows, out: options.ScoresFolder, artifacts: options.Artifacts = ARTIFACTS) -> Output:
    """Score all features in Parquet with the head."""
    done = catsdogs.score(rows, out, artifacts=artifacts, progress=show_step)
    return Output(done.to_dict, summaries.scoring_lines(done))


@_command("train --learning-curve", locks="artifacts")
def train(
    artifacts: options.Artifacts = ARTIFACTS,
    exclude: options.Exclude = None,
    holdout: options.Holdout = None,
    nested: options.Nested = False,
    learning_curve: options.LearningCurve = False,
    no_near_duplicates: options.NoNearDuplicates = False,
) -> Output:
    """Train the head on the cached features and score it out of fold."""
    wanted: dict[Study, bool] = {"nested": nested, "learning_curve": learning_curve}
    done = catsdogs.train(
        artifacts,
        exclude=exclude,
        holdout=holdout,
        studies=[name for name in wanted if wanted[name]],
        near_duplicates=not no_near_duplicates,
        progress=show_step,
    )
    return Output(done.to_dict, summaries.training_lines(done, artifacts))


@_command("correct verdicts.csv", locks="artifacts")
def correct(verdicts: options.Verdicts, undo: options.Undo = False, artifacts: options.Artifacts = ARTIFACTS) -> Output:
    """Correct the labels of training images, for the next training."""
    if not undo and len(verdicts) > 1:
        raise OptionError("there is more than one CSV file", "Give one file, or --undo and the ids of images")
    given, undone = (None, verdicts) if undo else (verdicts[0], ())
    done = catsdogs.correct(given, undo=undone, artifacts=artifacts)
    return Output(done.to_dict, summaries.correction_lines(done, artifacts))


@_command("submit --clip 0.01", locks="artifacts")
def submit(artifacts: options.Artifacts = ARTIFACTS, clip: options.Clip = None) -> Output:
    """Score the cached test features and write submission.csv."""
    done = catsdogs.submit(artifacts, clip=clip)
    return Output(done.to_dict, summaries.submission_lines(done, artifacts))


@_command("report", locks="artifacts")
def report(artifacts: options.Artifacts = ARTIFACTS) -> Output:
    """Write report.html, with metrics, plots and the images to review."""
    done = catsdogs.report(artifacts, progress=show_step)
    return Output(done.to_dict, summaries.report_lines(done, artifacts))


@_command("review", locks="artifacts")
def review(artifacts: options.Artifacts = ARTIFACTS) -> Output:
    """Write review.html, to judge the labels most worth a look."""
    done = catsdogs.review(artifacts, progress=show_step)
    return Output(lambda: [image.to_dict() for image in done.queue], summaries.review_lines(done, artifacts))


@_command("similar cat.jpg --html similar.html")
def similar(
    image: options.Image,
    artifacts: options.Artifacts = ARTIFACTS,
    weights: options.Weights = None,
    count: options.Count = 10,
    html: options.Html = None,
    no_preview: options.NoPreview = False,
    *,
    as_json: bool,
) -> Output:
    """Find the cached images that are nearest to an image."""
    # Imported here, as Rich's tables would slow down all other commands.
    from catsdogs.cli.predictions import show_similar
    from catsdogs.cli.previews import preview_limit

    limit = 0 if no_preview or as_json else preview_limit()
    found = catsdogs.similar(
        image, artifacts=artifacts, weights=weights, count=count, html=html, previews=limit, progress=show_step
    )
    show_them = partial(show_similar, found, html)
    return Output(lambda: [near.to_dict() for near in found], show_them, is_summary=False)


@_command("predict cat.jpg dogs/ --sort")
def predict(
    images: options.Images,
    artifacts: options.Artifacts = ARTIFACTS,
    weights: options.Weights = None,
    as_csv: options.Csv = False,
    sort: options.Sort = False,
    no_preview: options.NoPreview = False,
    ray: options.Ray = None,
    workers: options.Workers = None,
    parquet: options.ScoresParquet = None,
    *,
    as_json: bool,
) -> Output:
    """Predict the class of each image."""
    if parquet is not None:
        if len(images) > 1 or as_csv or sort:
            raise OptionError("--parquet takes one folder or archive, and no --csv or --sort", "Give one without them")
        done = catsdogs.predict_to_parquet(
            images[0], parquet, artifacts=artifacts, weights=weights, ray=ray, workers=workers, progress=show_step
        )
        return Output(done.to_dict, summaries.scoring_lines(done))
    if ray or workers is not None:
        raise OptionError("--ray and --workers have no effect without --parquet", "Give --parquet a folder or URI")
    if as_json and as_csv:
        raise OptionError("--json and --csv exclude each other", "Give one of them")
    if "-" in images and os.isatty(0):
        raise OptionError("nothing is piped to standard input", "Pipe an image: catsdogs predict - < cat.jpg")
    inputs = [os.fdopen(0, "rb", closefd=False) if image == "-" else image for image in images]
    limit = 0
    if not (no_preview or as_json or as_csv):
        from catsdogs.cli.previews import preview_limit  # imports Rich

        limit = preview_limit()
    predictions = catsdogs.predict(inputs, artifacts=artifacts, weights=weights, previews=limit, progress=show_step)
    if sort:
        predictions.sort(key=lambda prediction: prediction.certainty)
    return Output(
        lambda: [prediction.to_dict() for prediction in predictions],
        partial(_print_predictions, predictions, as_csv=as_csv),
        is_summary=False,
        failed=any(prediction.reason for prediction in predictions),
    )


def _print_predictions(predictions: list["catsdogs.Prediction"], *, as_csv: bool) -> None:
    # Imported here, as Rich's tables would slow down all other commands, and --json.
    from catsdogs.cli.predictions import predictions_csv, show_predictions

    if as_csv:
        sys.stdout.buffer.write(predictions_csv(predictions))
    else:
        show_predictions(predictions)


@_command("evaluate cats-dogs-testing/")
def evaluate(data: options.Data, artifacts: options.Artifacts = ARTIFACTS, weights: options.Weights = None) -> Output:
    """Score the head on other labelled images."""
    done = catsdogs.evaluate(data, artifacts=artifacts, weights=weights, progress=show_step)
    return Output(done.to_dict, listings.evaluation_lines(done), is_summary=False)


@_command("export keras", locks="artifacts")
def export(
    format: options.Format,
    out: options.ExportFile = None,
    artifacts: options.Artifacts = ARTIFACTS,
    weights: options.Weights = None,
) -> Output:
    """Write backbone and head as one network for other programs."""
    done = catsdogs.export(format, out=out, artifacts=artifacts, weights=weights, progress=show_step)
    return Output(done.to_dict, summaries.export_lines(done))


@_command("info --json")
def info(artifacts: options.Artifacts = ARTIFACTS) -> Output:
    """Show what is in the artifacts, what made them, and what is stale."""
    found = catsdogs.info(artifacts)
    return Output(found.to_dict, listings.info_lines(found), is_summary=False, failed=bool(found.problems))


@_command("verify")
def verify(artifacts: options.Artifacts = ARTIFACTS) -> Output:
    """Check every file against its checksum."""
    found = catsdogs.verify(artifacts)
    failed = bool(found.problems)
    return Output(found.to_dict, listings.verification_lines(found), is_summary=not failed, failed=failed)


@_command("prepare photographs/ prepared/", locks="out")
def prepare(
    data: options.Data, out: options.PreparedFolder, seed: options.Seed = 0, classes: options.Classes = None
) -> Output:
    """Write the labelled images as PNGs, split into training and test."""
    done = catsdogs.prepare(data, out, seed=seed, classes=classes, progress=show_step)
    return Output(done.to_dict, summaries.preparation_lines(done))


@_command("demo")
def demo(artifacts: options.Artifacts = ARTIFACTS / "demo", weights: options.Weights = None) -> Output:
    """Run everything on synthetic images of cats and dogs."""
    done = catsdogs.demo(artifacts, weights=weights, progress=show_step)
    return Output(done.to_dict, summaries.demo_lines(done, artifacts))


@_command("bench photographs/ --images 100", name="bench")
def benchmark(
    data: options.Data,
    artifacts: options.Artifacts = ARTIFACTS,
    weights: options.Weights = None,
    images: options.ImageCount = 300,
    plan: options.PlannedCount = None,
) -> Output:
    """Measure the images per second of each stage on this machine."""
    done = catsdogs.benchmark(data, artifacts=artifacts, weights=weights, images=images, plan=plan, progress=show_step)
    return Output(done.to_dict, listings.benchmark_lines(done), is_summary=False)


@_command("notebook")
def notebook() -> Output:
    """Write a Jupyter notebook with a step-by-step tutorial."""
    path: Path = catsdogs.notebook()
    return Output(lambda: {"path": str(path)}, summaries.notebook_lines(path))
