"""Declare the arguments and options of the commands, each with its help."""

from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

import catsdogs

_features = partial(Option, rich_help_panel="Features")
_training = partial(Option, rich_help_panel="Training")
"""Options of two groups in the help; the others, of where results go and how they are shown, come before them."""


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"catsdogs {catsdogs.__version__}")
        raise Exit


Version = Annotated[bool, Option("--version", callback=_print_version, is_eager=True, help="Print the version.")]
Data = Annotated[Path, Argument(metavar="DATA", help="A folder or a zip of images; Kaggle's download as it comes.")]
Images = Annotated[
    list[str], Argument(metavar="IMAGE", help="Files, folders or zips; - is one image's bytes on standard input.")
]
Artifacts = Annotated[Path, Option(help="Where results go.")]
ARTIFACTS = Path("artifacts")
Weights = Annotated[
    str | None,
    _features(
        help="imagenet, random, random:SEED, FILE.h5 or FILE.keras. Default: the variable CATSDOGS_WEIGHTS, "
        "then what the artifacts were made with, then imagenet."
    ),
]
Classes = Annotated[
    str | None,
    _features(metavar="A,B", help="Classes; probabilities are of B. Default: DATA's two class folders, or cat,dog."),
]
Clip = Annotated[float | None, Option(help="Clip probabilities to [CLIP, 1 - CLIP]. Default: what the head says.")]
Prune = Annotated[bool, _features("--prune", help="Drop rows of other weights, views or half of the images.")]
Exclude = Annotated[Path | None, _training(metavar="CSV", help="Do not train on these ids, such as suspects.csv.")]
Holdout = Annotated[
    float | None, _training(metavar="SHARE", help="Also train without this share and score it, such as 0.15.")
]
Nested = Annotated[bool, _training("--nested", help="Also choose everything without each fold, and score it.")]
LearningCurve = Annotated[bool, _training("--learning-curve", help="Also train on fewer images: would more help?")]
FailFast = Annotated[bool, _features("--fail-fast", help="End at the first image that cannot be read.")]
NoNearDuplicates = Annotated[
    bool, Option("--no-near-duplicates", help="Look for images of equal bytes only: for very many images.")
]
Wait = Annotated[bool, Option("--wait", help="Where another run is writing there, wait until it has ended.")]
Views = Annotated[
    str | None,
    _features(help="Sizes, with an m if mirrored, such as 224,224m,288. Default: what the artifacts have, then 224."),
]
Engine = Annotated[str, _features(help="auto, tensorflow, openvino, jax or torch.")]
Precision = Annotated[str, _features(help="auto, float32, bfloat16, float16, or int8, which auto never takes.")]
Json = Annotated[bool, Option("--json", help="Print JSON, for programs.")]
Csv = Annotated[bool, Option("--csv", help="Print CSV, for programs.")]
Sort = Annotated[bool, Option("--sort", help="The most uncertain first.")]
NoPreview = Annotated[bool, Option("--no-preview", help="Show no pictures in the terminal.")]
Format = Annotated[str, Argument(metavar="FORMAT", help="keras or onnx.")]
ExportFile = Annotated[Path | None, Option(metavar="FILE", help="Default: catsdogs.FORMAT among the artifacts.")]
PreparedFolder = Annotated[Path, Argument(metavar="OUT", help="The folder to write.")]
Seed = Annotated[int, Option(help="Of the split.")]
ImageCount = Annotated[int, _features(help="How many images to take, evenly spread.")]
