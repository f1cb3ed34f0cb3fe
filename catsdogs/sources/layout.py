"""Read the split and the label of each image, and the two classes, from the paths of a source.

Only paths are used, so a folder and a zip with the same images are read alike.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from ..errors import CatsDogsError, printable
from ..storage import to_cell
from .classes import CLASSES, MIN_IMAGES, Classes, choose_classes, label_hint
from .names import SUFFIXES, class_key, composed, label_by_prefix, skip_reason, split_and_subject, split_of, stem_of

Parts = tuple[str, ...]
"""A file's path below the source: the names of its folders, then its own."""

_NAMED_LIKE_A_CLASS = re.compile(r"([A-Za-z]+)\.\d+\.\w+")


@dataclass(frozen=True)
class Placed:
    """An image of a source, without an id.

    Parameters
    ----------
    position : int
        Position of its path in the given paths.
    split : str
        "train" or "test".
    label : int
        A position in the classes, -1 unknown.
    label_folder : int
        Position in its path of the folder that gives the label, -1 if none does.
    name : str
        Its name without the ending, after the class if a folder gives it.
    """

    position: int
    split: str
    label: int
    label_folder: int
    name: str


@dataclass(frozen=True)
class Layout:
    """How a source is read.

    Parameters
    ----------
    classes : pair of str
    images : list of Placed
    skipped : dict of int to str
        Why each other file is skipped, by its position.
    rules : list of str
        What was decided and by which rule, in words.
    """

    classes: Classes
    images: list[Placed]
    skipped: dict[int, str]
    rules: list[str]


def read_layout(
    paths: Sequence[Parts], display_path: str, *, classes: Classes | None = None, default_classes: Classes | None = None
) -> Layout:
    """Determine the classes, and the split and label of each image, by the rules of docs/reference/inputs.md.

    Parameters
    ----------
    paths : sequence of tuple of str
        Each file's path below the source: the names of its folders, then its own.
    display_path : str
        The source's path, for messages.
    classes : pair of str, optional
        By default the names of the two class folders of the training images, else `default_classes`, else cat and dog.
    default_classes : pair of str, optional
        The classes of the existing features or head.

    Raises
    ------
    CatsDogsError
        There are no images, an image has a label that is neither of the classes, or there are more than two class
        folders and neither `classes` nor `default_classes` selects two of them.
    """
    skipped = {position: reason for position, parts in enumerate(paths) if (reason := skip_reason(parts))}
    images = {position: parts for position, parts in enumerate(paths) if position not in skipped}
    if not images:
        by_count = sorted(Counter(skipped.values()).items(), key=lambda item: (-item[1], item[0]))
        found = ", ".join(f"{count:,} {reason}" for reason, count in by_count[:3])
        message = f"there are no images in {display_path}" + (f"; its files are: {found}" if found else "")
        hint = f"Give a folder or a zip with files named *{', *'.join(SUFFIXES)}; unpack other archives"
        raise CatsDogsError(message, hint)
    keys_given = set(map(class_key, classes or default_classes or ()))
    given, images = images, _with_plain_splits(images, keys_given)
    splits, rules = _read_splits(images, given, skipped)
    wanted = "train" if "train" in splits.values() else None
    training = [images[p] for p, split in splits.items() if split == wanted]
    folders, strays = _find_class_folders(training, keys_given)
    above, below = _crossed(training, folders)
    if default_classes and set(map(class_key, below)) == keys_given:
        folders = below
    chosen = classes or choose_classes(folders, display_path, default_classes=default_classes)
    rules.append("classes as given" if classes else _class_rule(folders, chosen))
    for names, how in ((above, "are in"), (below, "have")):
        if names and chosen not in (classes, default_classes, CLASSES):
            named = " and ".join(names) if len(names) == 2 else f"{names[0]}, {names[1]} and {len(names) - 2:,} more"
            rules.append(f"both {how} {named}: --classes {names[0]},{names[1]} if these are the classes")
    keys, others = _keys(chosen), _other_folders(chosen, folders, strays)
    for position in list(splits) if others else ():
        parts = images[position]
        if not others.isdisjoint(map(class_key, parts[:-1])) and _label_of(parts, keys)[0] < 0:
            skipped[position] = f"in other folders than those of {' and '.join(chosen)}"
            del splits[position]
    placed: list[Placed] = []
    for split in (None, "train", "test"):
        members = {position: images[position] for position, of in splits.items() if of == split}
        if members:
            in_split, more = _read_split(members, given, split, chosen, display_path)
            rules += more
            # Class folders beside test/ are the training images; images without labels beside it are skipped.
            if split is None and "test" in splits.values() and in_split[0].split == "test":
                skipped |= dict.fromkeys(members, "images without a label beside the split folders")
            else:
                placed += in_split
    return Layout(chosen, placed, skipped, rules)


def read_all(paths: Sequence[Parts], display_path: str, *, default_classes: Classes | None = None) -> Layout:
    """Return what `read_layout` does, unless it refuses or skips an image: then all images, without labels."""
    skipped = {position: reason for position, parts in enumerate(paths) if (reason := skip_reason(parts))}
    images = {position: parts for position, parts in enumerate(paths) if position not in skipped}
    try:
        layout = read_layout(paths, display_path, default_classes=default_classes)
    except CatsDogsError:
        if not images:
            raise
    else:
        if len(layout.images) == len(images) and layout.classes == default_classes:
            return layout
    placed = [Placed(position, "test", -1, -1, _name_of(parts, "")) for position, parts in images.items()]
    return Layout(default_classes or CLASSES, placed, skipped, ["all images, without labels"])


def _with_plain_splits(images: dict[int, Parts], wanted: Set[str]) -> dict[int, Parts]:
    """Name folders by their splits where only these tell them apart: pets/ and pets-test/ become train/ and test/.

    These are all folders at the first level at which paths differ. The training split may have no name, if all hold
    folders of the same names. `wanted` are the keys of classes: folders of these names are left as they are.
    """
    folders = {parts[:-1] for parts in images.values()}
    first, last = min(folders), max(folders)
    depth = next((n for n, (name, other) in enumerate(zip(first, last, strict=False)) if name != other), len(first))
    if any(len(folder) == depth for folder in folders):
        return images
    inside = defaultdict[str, set[str]](set)
    for folder in folders:
        inside[folder[depth]] |= set(map(class_key, folder[depth + 1 : depth + 2]))
    found = {name: split_and_subject(name) for name in inside}
    splits, subjects = map(set, zip(*found.values(), strict=True))
    told_apart = len(found) == len(splits) > 1 == len(subjects) and ("train" in splits) != (None in splits)
    alike = len({frozenset(names) for names in inside.values()}) == 1 < min(map(len, inside.values()))
    if not told_apart or not (alike or "train" in splits) or (wanted and wanted <= set(map(class_key, found))):
        return images
    plain = {name: split or "train" for name, (split, _) in found.items()}
    return {p: (*parts[:depth], plain[parts[depth]], *parts[depth + 1 :]) for p, parts in images.items()}


def _read_splits(
    images: Mapping[int, Parts], given: Mapping[int, Parts], skipped: dict[int, str]
) -> tuple[dict[int, str | None], list[str]]:
    """Return the split of each image that counts, None if it is in no split's folder, and what was decided.

    `given` has the paths with their own names.
    """
    depths = {p: next((d for d, name in enumerate(parts[:-1]) if split_of(name)), -1) for p, parts in images.items()}
    splits = {p: split_of(images[p][depth]) if depth >= 0 else None for p, depth in depths.items()}
    roots = {(splits[p], images[p][:depth]) for p, depth in depths.items() if depth >= 0}
    names = set(splits.values())
    folders = {split: ", ".join(sorted({printable(given[p][depths[p]]) + "/" for p in images if splits[p] == split}))
               for split in names if split}  # fmt: skip
    meaning = {"train": "the training split", "test": "the test split"}
    if "test" not in names:
        meaning["validation"] = "the test split, as there is no other"
    rules = [", ".join(f"{folders[split]} is {what}" for split, what in meaning.items() if split in names)]
    if "train" not in names and None in names and names - {None}:
        rules.append("labelled images beside the test split are the training split")
    counting: dict[int, str | None] = {}
    for p, split in splits.items():
        nested = any((split, images[p][:depth]) in roots for depth in range(depths[p]))
        if split and nested:
            skipped[p] = "in a data set within the data set"
        elif split == "validation" and "test" in names and "train" in names:
            skipped[p] = "validation images, as there is a test folder: score them with catsdogs evaluate"
        elif split is None and "train" in names:
            skipped[p] = "outside the folders of the splits"
        elif split == "validation":
            counting[p] = None if "test" in names else "test"
        else:
            counting[p] = split
    return counting, list(filter(None, rules))


def _class_rule(found: Sequence[str], chosen: Classes) -> str:
    """Return by which rule the classes were chosen; `found` are those that folders or names give."""
    if tuple(map(class_key, found)) != tuple(map(class_key, chosen)):
        return "classes by default" if chosen == CLASSES else "classes as in the artifacts"
    if found != CLASSES:
        return f"classes from the folders {', '.join(f'{name}/' for name in found)}"
    return "classes from the names of files or folders"


def _other_folders(classes: Classes, folders: Iterable[str], strays: Iterable[str]) -> set[str]:
    """Return the keys of folders of other classes, if the two are among the folders, and of stray folders."""
    keys, of_folders = set(map(class_key, classes)), set(map(class_key, folders))
    return set(map(class_key, strays)) | (of_folders - keys if of_folders >= keys else set())


def _keys(classes: Classes) -> dict[str, int]:
    """Return the labels by the keys of their classes."""
    return {class_key(name): label for label, name in enumerate(classes)}


def _find_class_folders(paths: Sequence[Parts], wanted: Set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the class folders of these images, in natural order, and of folders that are none.

    The class folders are the first level of folders, below that of the split, at which the images' paths differ, or
    above it if they differ nowhere below. The classes are cat and dog if all images are labelled so, or images of both
    are, but not by folders of that level.
    """
    cats_and_dogs = _keys(CLASSES)
    labels = [_label_of(parts, cats_and_dogs) for parts in paths]
    found, strays = _differing_folders([parts[_depth_of_split(parts) : -1] for parts in paths], wanted)
    if not found and any(label_by_prefix(stem_of(parts[-1]), cats_and_dogs) < 0 for parts in paths):
        found, strays = _differing_folders([parts[: max(0, _depth_of_split(parts) - 1)] for parts in paths], wanted)
    known = {label for label, _ in labels}
    if known and (-1 not in known or (known >= {0, 1} and not set(map(class_key, found)) >= cats_and_dogs.keys())):
        return CLASSES, strays
    return found, strays


def _differing_folders(
    folders: Sequence[Parts], wanted: Set[str], fewest: int = MIN_IMAGES
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the folders at the first level at which they differ, in natural order, and of stray folders.

    A level at which all folders but two hold a single image comes first, if all levels above it have one folder, apart
    from such stray ones. Beside a folder of `fewest` images, those with fewer are stray too, if that leads to two.
    """
    depth, strays, first, given = 0, list[str](), tuple[str, ...](), folders
    while folders := [names for names in folders if len(names) > depth]:
        counts = Counter(class_key(names[depth]) for names in folders)
        spelled = {class_key(name): name for name in sorted({names[depth] for names in folders}, reverse=True)}
        large = [key for key in spelled if counts[key] >= fewest]
        if len(large) != 1:
            large = [key for key in spelled if counts[key] > 1]
        if len(large) > 2 and not (wanted and wanted <= spelled.keys()) and (two := _two_of(folders, depth)):
            return two, ()
        if len(spelled) > 1 and not first:
            first = _in_natural_order(spelled.values())
        if 1 <= len(large) <= 2:
            strays += [composed(spelled[key]) for key in spelled if key not in large]
        if len(large) == 2:
            return _in_natural_order(spelled[key] for key in large), tuple(strays)
        if len(large) != 1:
            break
        folders = [names for names in folders if class_key(names[depth]) in large]
        depth += 1
    return (first, ()) if fewest == 2 else _differing_folders(given, wanted, 2)


def _two_of(folders: Collection[Parts], depth: int) -> tuple[str, ...]:
    """Return the two class folders of a level that has more, if the others are further data sets, or all are folds."""
    spelled = {class_key(names[depth]): names[depth] for names in folders}
    shared = {key: set[str]() for key in spelled}  # names of the level that are also below one of its folders
    for names in set(folders):
        shared[class_key(names[depth])] |= set(map(class_key, names[depth + 1 :])) & spelled.keys()
    classes = {key for key, keys in shared.items() if not keys}
    if len(classes) == 2 and all(keys >= classes for key, keys in shared.items() if key not in classes):
        return _in_natural_order(spelled[key] for key in classes)
    return _classes_below(folders, depth) if len({re.sub(r"\d+", "", key) for key in spelled}) == 1 else ()


def _classes_below(folders: Collection[Parts], depth: int) -> tuple[str, ...]:
    """Return the only two folders below those of a level, if half of them have both."""
    pairs = {names[depth : depth + 2] for names in folders}
    if any(len(pair) < 2 for pair in pairs):
        return ()
    keys, spelled = {tuple(map(class_key, pair)) for pair in pairs}, {class_key(below): below for _, below in pairs}
    crossed = len(spelled) == 2 and 2 * len(keys) >= 3 * len({above for above, _ in keys})
    return _in_natural_order(spelled.values()) if crossed else ()


def _crossed(paths: Sequence[Parts], found: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return other folders that may be the classes: those above the two that were found, and the two below them."""
    if len(found) != 2:
        return (), ()
    keys = _keys((found[0], found[1]))
    labelled = [(parts[:-1], depth) for parts in paths if (depth := _label_of(parts, keys)[1]) >= 0]
    depths = {depth for _, depth in labelled}
    if len(depths) != 1:
        return (), ()
    (depth,), folders = depths, [folder for folder, _ in labelled]
    above = _classes_below(folders, depth - 1) if depth > 0 else ()
    uppers = _in_natural_order({folder[depth - 1] for folder in folders}) if above else ()
    return uppers if len(uppers) > 1 else (), _classes_below(folders, depth)


def _in_natural_order(names: Iterable[str]) -> tuple[str, ...]:
    from natsort import natsorted, ns

    return tuple(natsorted((printable(composed(name.strip())) for name in names), key=str.lower, alg=ns.PRESORT))


def _read_split(
    members: Mapping[int, Parts], given: Mapping[int, Parts], split: str | None, classes: Classes, display_path: str
) -> tuple[list[Placed], list[str]]:
    """Return the images of a split (None: outside any split folder), and what was decided about names.

    Names such as cat_1.jpg count as labels if then every image of the split has one.
    """
    keys = _keys(classes)
    labels = {position: _label_of(parts, keys) for position, parts in members.items()}
    unknown = [position for position in members if labels[position][0] < 0]
    prefixed = {position: (label_by_prefix(stem_of(members[position][-1]), keys), -1) for position in unknown}
    rules: list[str] = []
    begins = [position for position, (label, _) in prefixed.items() if label >= 0]
    example = printable(min((members[position][-1] for position in begins), default=""))
    if begins and len(begins) == len(unknown):
        labels, unknown = labels | prefixed, []
        rules.append(f"names that begin with a class are labels, such as {example}")
    elif begins:
        rules.append(f"{len(begins):,} names begin with a class, such as {example}: no labels, as others do not")
    by_folder = any(folder >= 0 for _, folder in labels.values())
    # Files of a test split may have any name, even cat.jpg, without being labelled.
    must_be_known = split == "train" or by_folder or (split is None and len(unknown) < len(members))
    paths = [members[position] for position in unknown]
    if unknown and (must_be_known or (split is None and _look_like_classes(paths))):
        raise _neither([given[position] for position in unknown], len(members), classes, display_path)
    split = split or ("test" if unknown else "train")
    placed = [
        Placed(p, split, -1 if unknown else label, folder, _name_of(members[p], classes[label] if folder >= 0 else ""))
        for p, (label, folder) in labels.items()
    ]
    return placed, rules


def _neither(unknown: Iterable[Parts], total: int, classes: Classes, display_path: str) -> CatsDogsError:
    names = sorted("/".join(parts) for parts in unknown)
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return CatsDogsError(
        f"{len(names):,} of {total:,} images in {display_path} are labelled neither {' nor '.join(classes)}: "
        f"{', '.join(names[:3])}{more}",
        f"{label_hint(classes)}; put images without labels into test/; for other classes run catsdogs extract "
        "with --classes A,B",
    )


def _depth_of_split(parts: Parts) -> int:
    """Return the number of folders down to that of the split, included; 0 if there is none."""
    return next((depth for depth, folder in enumerate(parts[:-1], 1) if split_of(folder)), 0)


def _label_of(parts: Parts, keys: Mapping[str, int]) -> tuple[int, int]:
    """Return the label, and the position of the folder that gives it, or -1 if the file's name does.

    The innermost folder below the split's folder is tried first, then the file's name, then folders above the split's.
    """
    split = _depth_of_split(parts)
    folders = [(keys[key], depth) for depth, name in enumerate(parts[:-1]) if (key := class_key(name)) in keys]
    if folders and folders[-1][1] >= split:
        return folders[-1]
    named = keys.get(class_key(parts[-1].split(".")[0]), -1)
    return (named, -1) if named >= 0 or not folders else folders[-1]


def _name_of(parts: Parts, label_folder: str) -> str:
    stem = composed(stem_of(parts[-1]))
    if label_folder and not stem.lower().startswith(f"{label_folder.lower()}."):
        stem = f"{label_folder}.{stem}"
    return to_cell(stem)


def _look_like_classes(paths: Collection[Parts]) -> bool:
    """Whether images without a known label look like two classes: ants/ and bees/, or bird.1.jpg and fish.2.jpg."""
    if all(len(parts) > 1 for parts in paths):
        return len({parts[:-1] for parts in paths}) > 1
    named = [_NAMED_LIKE_A_CLASS.fullmatch(parts[-1]) for parts in paths]
    return all(named) and len({match[1].lower() for match in named if match}) > 1
