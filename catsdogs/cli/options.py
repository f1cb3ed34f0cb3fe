"""Declare the arguments and options of the commands, each with its help."""

from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

import catsdogs

from ..choices import EngineChoice, ExportFormat, PrecisionChoice

_features = partial(Option, rich_help_panel="Features", show_default=False)
_training = partial(Option, rich_help_panel="Training")
"""Options of two groups in the help, below the options of all commands."""


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"catsdogs {catsdogs.__version__}")
        raise Exit


Version = Annotated[bool, Option("--version", callback=_print_version, is_eager=True, help="Print the version.")]
Data = Annotated[str, Argument(metavar="DATA", help="Folder, zip or tar of images, or its URI.", show_default=False)]
Images = Annotated[list[str], Argument(metavar="IMAGE", help="Paths or URIs; - is standard input.")]
Image = Annotated[str, Argument(metavar="IMAGE", help="A file, or the id of a cached image.", show_default=False)]
Artifacts = Annotated[Path, Option(metavar="DIR", help="Results folder.")]
ARTIFACTS = Path("artifacts")
RowsPlace = Annotated[str, Option("--artifacts", metavar="DIR", help="Folder or URI.")]
Weights = Annotated[str | None, _features(metavar="WEIGHTS", help="imagenet, random, random:SEED or FILE.")]
Classes = Annotated[str | None, _features(metavar="A,B", help="Names of the classes, such as cat,dog.")]
Clip = Annotated[float | None, Option(metavar="CLIP", help="Clip probabilities to [CLIP, 1-CLIP].")]
Prune = Annotated[bool, _features("--prune", help="Allow the removal of cached features.")]
Exclude = Annotated[Path | None, _training(metavar="CSV", help="CSV file of ids not to train on.")]
Holdout = Annotated[float | None, _training(metavar="FRACTION", help="Also score a holdout, such as 0.15.")]
Nested = Annotated[bool, _training("--nested", help="Also run nested cross-validation.")]
LearningCurve = Annotated[bool, _training("--learning-curve", help="Also train on fewer images.")]
Verdicts = Annotated[list[str], Argument(metavar="CSV", help="CSV of labels; with --undo, ids.")]
Undo = Annotated[bool, Option("--undo", help="Undo the corrections of these ids.")]
FailFast = Annotated[bool, _features("--fail-fast", help="Stop at the first unreadable image.")]
NoNearDuplicates = Annotated[bool, Option("--no-near-duplicates", help="Search for identical images only.")]
DryRun = Annotated[bool, Option("--dry-run", help="Only show how DATA would be read.")]
PartOption = Annotated[str | None, Option("--part", metavar="K/N", help="Compute one of N parts, for merge.")]
Ray = Annotated[str | None, Option(metavar="ADDR", help="local, or the address of a Ray cluster.")]
Workers = Annotated[int | None, Option(metavar="N", help="Workers of Ray on each machine.")]
Parquet = Annotated[str | None, Option(metavar="URI", help="Write Parquet here, and no cache.")]
ScoresParquet = Annotated[str | None, Option("--parquet", metavar="URI", help="Write probabilities to Parquet here.")]
Rows = Annotated[str, Argument(metavar="ROWS", help="Folder or URI that extract --parquet wrote.")]
ScoresFolder = Annotated[str, Argument(metavar="OUT", help="Folder or URI to write to.")]
SubsetSize = Annotated[int, Option("--images", metavar="N", help="Number of images to draw.")]
SubsetSeed = Annotated[int, Option("--seed", metavar="SEED", help="Seed of the sample.")]
PartFolders = Annotated[list[str], Argument(metavar="FROM", help="Folders or URIs of all parts.")]
MergedFolder = Annotated[Path, Argument(metavar="ARTIFACTS", help="Results folder to write.")]
Wait = Annotated[bool, Option("--wait", help="Wait for another run to finish.")]
Views = Annotated[str | None, _features(metavar="VIEWS", help="Sizes, m if mirrored, such as 224,224m.")]
Engine = Annotated[EngineChoice, _features(metavar="ENGINE", help="auto, tensorflow, openvino, jax or torch.")]
Precision = Annotated[PrecisionChoice, _features(metavar="TYPE", help="auto, float32, bfloat16, float16 or int8.")]
Json = Annotated[bool, Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, Option("--quiet", "-q", help="Print no progress and no summary.")]
Verbose = Annotated[bool, Option("--verbose", "-v", help="Print the log to standard error.")]
Csv = Annotated[bool, Option("--csv", help="Print the result as CSV.")]
Sort = Annotated[bool, Option("--sort", help="Sort by confidence, least first.")]
NoPreview = Annotated[bool, Option("--no-preview", help="Show no previews in the terminal.")]
Format = Annotated[ExportFormat, Argument(metavar="FORMAT", help="keras or onnx.")]
ExportFile = Annotated[Path | None, Option(metavar="FILE", help="File to write, by default catsdogs.FORMAT.")]
PreparedFolder = Annotated[Path, Argument(metavar="OUT", help="Folder to write.")]
Seed = Annotated[int, Option(metavar="SEED", help="Seed of the split.")]
Count = Annotated[int, Option(metavar="N", help="Number of images to find.")]
Html = Annotated[Path | None, Option(metavar="FILE", help="Also write an HTML page with the images.")]
PlannedCount = Annotated[int | None, Option("--plan", metavar="N", help="Also plan for N images on many workers.")]
ImageCount = Annotated[int, Option(metavar="N", help="Number of images.")]
