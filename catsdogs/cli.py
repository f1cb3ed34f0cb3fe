"""Options come in and become one library call; its result goes to the terminal."""

import json
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import catsdogs
from catsdogs import terminal
from catsdogs.errors import CatsDogsError
from catsdogs.progress import Progress

app = typer.Typer(
    name="catsdogs",
    help="Cats or dogs: a frozen ResNet50's features cached once, a head on them trained in seconds.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA", help="A folder or a zip of images; Kaggle's download as it comes.", show_default=False
    ),
]
Artifacts = Annotated[Path, typer.Option(help="Where results go.")]
Weights = Annotated[
    str | None,
    typer.Option(
        help="imagenet, random, random:SEED, FILE.h5 or FILE.keras. Default: the variable CATSDOGS_WEIGHTS, "
        "then what the artifacts were made with, then imagenet.",
        show_default=False,
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        metavar="A,B",
        help="The two classes; probabilities are those of B. Default: DATA's two class folders, or cat,dog.",
        show_default=False,
    ),
]
Clip = Annotated[
    float | None,
    typer.Option(help="Clip probabilities to [CLIP, 1 - CLIP]. Default: what the head says.", show_default=False),
]
Prune = Annotated[bool, typer.Option("--prune", help="Drop cached rows that DATA or the weights no longer make.")]
Without = Annotated[
    Path | None,
    typer.Option(metavar="CSV", help="Do not train on the ids listed here, such as suspects.csv.", show_default=False),
]
Holdout = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Also train without this share and score it, such as 0.15.", show_default=False),
]
Nested = Annotated[bool, typer.Option("--nested", help="Also choose everything without each fold, and score it.")]
Curve = Annotated[bool, typer.Option("--curve", help="Also train on fewer images: would more pictures help?")]
Strict = Annotated[bool, typer.Option("--strict", help="End at the first image that cannot be read.")]
Wait = Annotated[bool, typer.Option("--wait", help="Where another run is writing there, wait until it has ended.")]
Views = Annotated[
    str | None,
    typer.Option(
        help="What is computed of each image: sizes with an m if mirrored, such as 224,224m,288. Default: what the "
        "artifacts have, then 224.",
        show_default=False,
    ),
]
Engine = Annotated[str, typer.Option(help="auto, tensorflow, openvino, jax or torch.")]
Precision = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Partial = Annotated[bool, typer.Option("--partial", help="Train although not all features are there yet.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

HERE = Path("artifacts")

_INTERRUPTED = 130
"""Exit code after Ctrl-C (128 + SIGINT)."""


def _version(asked: bool) -> None:
    if asked:
        print(f"catsdogs {catsdogs.__version__}")
        raise typer.Exit


def _held(artifacts: Path, wait: bool, progress: Progress) -> AbstractContextManager[None]:
    return catsdogs.hold(artifacts, progress=progress) if wait else nullcontext()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
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
    strict: Strict = False,
    wait: Wait = False,
) -> None:
    """Do everything: extract features, train the head, write the submission.

    What is there and still valid is not done again.

    Example: catsdogs run dogs-vs-cats-redux-kernels-edition.zip
    """
    with terminal.progress_bar() as progress, _held(artifacts, wait, progress):
        done = catsdogs.run(
            data,
            artifacts=artifacts,
            weights=weights,
            compute=_compute(views, engine, precision),
            classes=classes,
            clip=clip,
            prune=prune,
            strict=strict,
            progress=progress,
        )
    terminal.show(terminal.run_lines(done, artifacts))


@app.command()
def extract(
    data: Data,
    artifacts: Artifacts = HERE,
    weights: Weights = None,
    views: Views = None,
    engine: Engine = "auto",
    precision: Precision = "auto",
    classes: Classes = None,
    prune: Prune = False,
    strict: Strict = False,
    wait: Wait = False,
) -> None:
    """Compute the features of every image that is not cached yet.

    Example: catsdogs extract photographs/ --classes ants,bees
    """
    with terminal.progress_bar() as progress, _held(artifacts, wait, progress):
        done = catsdogs.extract(
            data,
            artifacts=artifacts,
            weights=weights,
            compute=_compute(views, engine, precision),
            classes=classes,
            prune=prune,
            strict=strict,
            progress=progress,
        )
    terminal.show(terminal.extraction_lines(done, artifacts))


def _compute(views: str | None, engine: str, precision: str) -> "catsdogs.Compute":
    return catsdogs.Compute(views.split(",") if views is not None else None, engine, precision)


@app.command()
def train(
    artifacts: Artifacts = HERE,
    without: Without = None,
    holdout: Holdout = None,
    nested: Nested = False,
    curve: Curve = False,
    partial: Partial = False,
    wait: Wait = False,
) -> None:
    """Train the head on the cached features, and say how good it is.

    Example: catsdogs train --curve
    """
    studies = [name for name, wanted in (("nested", nested), ("curve", curve)) if wanted]
    with terminal.progress_bar() as progress, _held(artifacts, wait, progress):
        done = catsdogs.train(
            artifacts, partial=partial, without=without, holdout=holdout, studies=studies, progress=progress
        )
    terminal.show(terminal.training_lines(done, artifacts))


@app.command()
def submit(artifacts: Artifacts = HERE, clip: Clip = None, wait: Wait = False) -> None:
    """Score the cached test features, and write submission.csv.

    Example: catsdogs submit --clip 0.01
    """
    with terminal.progress_bar() as progress, _held(artifacts, wait, progress):
        done = catsdogs.submit(artifacts, clip=clip)
    terminal.show(terminal.submission_lines(done, artifacts))


@app.command()
def label(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE", help="Files, or folders of files.", show_default=False)
    ],
    artifacts: Artifacts = HERE,
    weights: Weights = None,
    as_json: Json = False,
) -> None:
    """Say of each image what it is, and how sure that is.

    Example: catsdogs label cat.jpg dogs/ --json
    """
    with terminal.progress_bar() as progress:
        answers = catsdogs.label(images, artifacts=artifacts, weights=weights, progress=progress)
    if as_json:
        print(json.dumps([answer.to_json() for answer in answers], indent=2))
    else:
        terminal.show(terminal.label_lines(answers))
    if any(answer.reason for answer in answers):
        raise typer.Exit(1)


@app.command()
def evaluate(data: Data, artifacts: Artifacts = HERE, weights: Weights = None, as_json: Json = False) -> None:
    """Say how good the head is on the labelled images of DATA; nothing is written.

    Example: catsdogs evaluate cats-dogs-testing/
    """
    with terminal.progress_bar() as progress:
        done = catsdogs.evaluate(data, artifacts=artifacts, weights=weights, progress=progress)
    if as_json:
        print(json.dumps(done.to_json(), indent=2))
    else:
        terminal.show(terminal.evaluation_lines(done))


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
    with terminal.progress_bar() as progress, _held(artifacts, wait, progress):
        done = catsdogs.export(form, out=out, artifacts=artifacts, weights=weights, progress=progress)
    if as_json:
        print(json.dumps(done.to_json(), indent=2))
    else:
        terminal.show(terminal.export_lines(done))


@app.command()
def info(artifacts: Artifacts = HERE, as_json: Json = False) -> None:
    """Say what the artifacts are and what made them.

    Example: catsdogs info --json
    """
    found = catsdogs.info(artifacts)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        terminal.show(terminal.info_lines(found))


@app.command()
def verify(artifacts: Artifacts = HERE) -> None:
    """Hold every file against its checksum: say that all is well, or what is not and what mends it.

    Example: catsdogs verify
    """
    found = catsdogs.verify(artifacts)
    terminal.show(terminal.verification_lines(found))
    if found.problems:
        raise typer.Exit(1)


@app.command()
def demo(artifacts: Artifacts = HERE / "demo", weights: Weights = None) -> None:
    """Draw cats and dogs, and do the whole job on them; it needs nothing.

    Example: catsdogs demo
    """
    with terminal.progress_bar() as progress:
        done = catsdogs.demo(artifacts, weights=weights, progress=progress)
    terminal.show(terminal.demo_lines(done, artifacts))


@app.command()
def bench(
    data: Data,
    weights: Weights = None,
    images: Annotated[int, typer.Option(help="How many images to take, evenly spread.")] = 300,
    as_json: Json = False,
) -> None:
    """Measure how many images a second this machine does, stage by stage, beside Keras' own recipe.

    Example: catsdogs bench photographs/ --weights random
    """
    with terminal.progress_bar() as progress:
        done = catsdogs.bench(data, weights=weights, images=images, progress=progress)
    if as_json:
        print(json.dumps(asdict(done), indent=2))
    else:
        terminal.show(terminal.benchmark_lines(done))


def main() -> None:
    """Start the program; what a user can mend becomes one line on standard error and exit code 1."""
    try:
        app()
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
    terminal.show_error(error)
    sys.exit(1)
