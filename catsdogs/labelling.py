"""Paths of images come in; what the head says of each goes out: which class, and how sure."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache as once
from pathlib import Path

from natsort import natsort_keygen

from . import head
from .artifacts import Artifacts
from .backbone import Backbone, choose_weights, load
from .belt import compute_all
from .cache import read_network
from .errors import CatsDogsError
from .extraction import origin_of
from .images import PIXELS
from .layout import is_passed_over
from .progress import Progress
from .sources import ImageFile, OpenZips, image_file, walk_folder
from .views import parse_views


@dataclass(frozen=True)
class Labelled:
    """What the head says of one image.

    Parameters
    ----------
    image : str
        Its path, as it was given.
    label : str or None
        Name of the likelier class; None where the image is unreadable.
    probability : float or None
        Of the second class (dog), unclipped; None where the image is unreadable.
    reason : str or None
        Why the image is unreadable.
    """

    image: str
    label: str | None
    probability: float | None
    reason: str | None = None

    def to_json(self) -> dict[str, object]:
        """Return image, label and probability, and the reason where there is one."""
        return {name: value for name, value in asdict(self).items() if name != "reason" or value is not None}


def label(
    images: str | Path | Sequence[str | Path],
    *,
    artifacts: str | Path = "artifacts",
    weights: str | None = None,
    progress: Progress | None = None,
) -> list[Labelled]:
    """Say of each image which of the two classes it is, a cat or a dog; nothing is written.

    Parameters
    ----------
    images : str or Path, or a sequence of them
        Files, and folders of files.
    artifacts : str or Path
        The artifacts folder, with a head in it.
    weights : str, optional
        As for `extract`; they must be those that the head was trained with.
    progress : callable, optional
        Told how far it is.

    Returns
    -------
    list of Labelled
        In the order given; a folder's images in natural order. Last, zips in a folder that cannot be opened, or
        are cut short.

    Raises
    ------
    CatsDogsError
        There is no head, it belongs to other weights, or a folder holds no image.
    """
    where = Artifacts(Path(artifacts))
    trained = head.load(where)
    backbone = backbone_of(trained, where, weights, progress=progress)
    views = parse_views(trained.facts["views"])
    given = [images] if isinstance(images, str | Path) else images
    with OpenZips() as open_zips:
        broken: dict[str, str] = {}
        files = [file for path in given for file in _files(path, open_zips, broken)]
        rows, features = compute_all(files, backbone, views, "labelling", progress=progress)
    classes, probabilities = trained.facts["classes"], trained.scorer.probabilities(features).tolist()
    answers = [
        Labelled(file.where, None, None, row.reason)
        if row.features is None
        else Labelled(file.where, classes[int(probability > 0.5)], probability)
        for file, row, probability in zip(files, rows, probabilities, strict=True)
    ]
    broken |= dict.fromkeys(open_zips.cut, "it is cut short: images may be missing")
    return answers + [Labelled(path, None, None, reason) for path, reason in broken.items()]


def backbone_of(
    trained: head.Head, where: Artifacts, weights: str | None, *, progress: Progress | None = None
) -> Callable[[], Backbone]:
    """Return what loads the backbone that a head was trained with, when it is called first.

    Raises
    ------
    CatsDogsError
        At once where the head is not of images as they are read here, at the call where the weights are not its own.
    """
    chosen = choose_weights(weights, where)
    if trained.facts["pixels"] != PIXELS:
        raise CatsDogsError(
            f"the head in {where.root} was trained on features that were not computed from images here",
            "Compute and label new ones where those came from, or run catsdogs run DATA --artifacts ANOTHER",
        )

    names, precision = trained.facts["views"], trained.facts["precision"]
    quantized = trained.facts["backbone"].get("network")
    views = parse_views(names)

    @once
    def backbone() -> Backbone:
        network = read_network(where.features, quantized) if quantized else None
        # By whatever engine there is: within the precision's tolerance they agree.
        sizes = sorted({view.size for view in views})
        loaded = load(chosen, sizes, precision=precision, network=network, progress=progress)
        head.must_match(trained, origin_of(chosen, loaded), names, "Give the --weights that the head was trained with")
        return loaded

    return backbone


def _files(given: str | Path, open_zips: OpenZips, broken: dict[str, str]) -> list[ImageFile]:
    path = Path(given)
    if not path.is_dir():
        return [replace(image_file(path, (path.name,)), where=str(given))]
    files = [file for file in walk_folder(path, open_zips, broken=broken) if not is_passed_over(file.parts)]
    if not files and not broken:
        raise CatsDogsError(f"there are no images in {path}", "Give files or folders of images")
    key = natsort_keygen()
    ordered = sorted(files, key=lambda file: (key("/".join(file.parts)), file.parts))
    return [replace(file, where=str(Path(given, *file.parts))) for file in ordered]
