"""Declare the arguments and options of the commands, each with its help."""

from pathlib import Path
from typing import Annotated

import typer

import catsdogs

FEATURES, TRAINING = "Features", "Training"
"""Groups of options in the help; the others, of where results go and how they are shown, come before them."""


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"catsdogs {catsdogs.__version__}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")]
Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA", help="A folder or a zip of images; Kaggle's download as it comes.", show_default=False
    ),
]
Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE",
        help="Files, folders or zips of files; - is one image's bytes on standard input.",
        show_default=False,
    ),
]
Artifacts = Annotated[Path, typer.Option(help="Where results go.")]
ARTIFACTS = Path("artifacts")
Weights = Annotated[
    str | None,
    typer.Option(
        help="imagenet, random, random:SEED, FILE.h5 or FILE.keras. Default: the variable CATSDOGS_WEIGHTS, "
        "then what the artifacts were made with, then imagenet.",
        show_default=False,
        rich_help_panel=FEATURES,
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        metavar="A,B",
        help="The two classes; probabilities are those of B. Default: DATA's two class folders, or cat,dog.",
        show_default=False,
        rich_help_panel=FEATURES,
    ),
]
Clip = Annotated[
    float | None,
    typer.Option(help="Clip probabilities to [CLIP, 1 - CLIP]. Default: what the head says.", show_default=False),
]
Prune = Annotated[
    bool,
    typer.Option("--prune", help="Drop cached rows that DATA or the weights no longer make.", rich_help_panel=FEATURES),
]
Exclude = Annotated[
    Path | None,
    typer.Option(
        metavar="CSV",
        help="Do not train on the ids listed here, such as suspects.csv.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]
Holdout = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Also train without this share and score it, such as 0.15.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]
Nested = Annotated[
    bool,
    typer.Option("--nested", help="Also choose everything without each fold, and score it.", rich_help_panel=TRAINING),
]
LearningCurve = Annotated[
    bool,
    typer.Option(
        "--learning-curve", help="Also train on fewer images: would more pictures help?", rich_help_panel=TRAINING
    ),
]
FailFast = Annotated[
    bool, typer.Option("--fail-fast", help="End at the first image that cannot be read.", rich_help_panel=FEATURES)
]
NoNearDuplicates = Annotated[
    bool, typer.Option("--no-near-duplicates", help="Look for images of equal bytes only: for very many images.")
]
Wait = Annotated[
    bool,
    typer.Option("--wait", help="Where another run is writing there, wait until it has ended."),
]
Views = Annotated[
    str | None,
    typer.Option(
        help="What is computed of each image: sizes with an m if mirrored, such as 224,224m,288. Default: what the "
        "artifacts have, then 224.",
        show_default=False,
        rich_help_panel=FEATURES,
    ),
]
Engine = Annotated[str, typer.Option(help="auto, tensorflow, openvino, jax or torch.", rich_help_panel=FEATURES)]
Precision = Annotated[
    str,
    typer.Option(
        help="auto, float32, bfloat16, float16, or int8, which is never taken by itself.", rich_help_panel=FEATURES
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV, for programs.")]
Sort = Annotated[bool, typer.Option("--sort", help="The most uncertain first.")]
NoPreview = Annotated[bool, typer.Option("--no-preview", help="Show no pictures in the terminal.")]
Format = Annotated[str, typer.Argument(metavar="FORMAT", help="keras or onnx.", show_default=False)]
ExportFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Where it goes. Default: catsdogs.FORMAT among the artifacts.", show_default=False
    ),
]
PreparedFolder = Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write.", show_default=False)]
Seed = Annotated[int, typer.Option(help="Of the split.")]
ImageCount = Annotated[int, typer.Option(help="How many images to take, evenly spread.", rich_help_panel=FEATURES)]
