"""List the images of a tar shard, as WebDataset and img2dataset write them, with the labels beside them."""

import json
import tarfile
from dataclasses import dataclass

from ..errors import CatsDogsError
from .archives import refuse_other_forms
from .classes import Classes
from .files import ImageFile, StoredFile, raise_if_system_error
from .names import is_image, path_of, split_of, stem_of

_MAX_LABEL = 1 << 20
"""Bytes of a file with a label; a larger one has none that is read."""

_LABELS = ("cls", "label", "class")
"""Keys of a sample's JSON that hold its label."""


@dataclass(frozen=True)
class _TarMember(ImageFile):
    """A member of a tar, which is not kept open."""

    archive: StoredFile
    start: int
    count: int

    @property
    def is_remote(self) -> bool:
        return self.archive.is_remote

    def descriptors(self) -> tuple[int, ...] | None:
        return self.archive.descriptors()

    def read(self) -> bytes:
        content = self.archive.read_range(self.start, self.start + self.count)
        if len(content) < self.count:
            raise OSError("it is cut off in the tar")
        return content

    def length(self) -> int:
        return self.count


def list_tar(file: StoredFile, parts: tuple[str, ...], classes: Classes | None) -> list[ImageFile]:
    """Return the files of a tar; those that only belong to an image, such as its caption, are left out.

    A tar has no directory, so its members' headers are read one after the other. The label of an image counts as the
    name of its folder. Nothing is unpickled.

    Parameters
    ----------
    file : StoredFile
    parts : tuple of str
        Path of the tar's folder below the source. A tar that is named like a split is a folder of that name.
    classes : pair of str, optional
        The names of the labels 0 and 1, if they are given as numbers.

    Raises
    ------
    CatsDogsError
        It is truncated, compressed, or no tar.
    """
    found: list[tuple[str, tarfile.TarInfo]] = []
    labels: dict[str, dict[str, str]] = {"cls": {}, "json": {}}
    with file.open() as stream:
        refuse_other_forms(stream.read(512), file.display_path, "tar")
        stream.seek(0)
        try:
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                while member := archive.next():
                    if member.size < 0:  # older versions of tarfile would read the same header for ever (CVE-2025-8194)
                        raise tarfile.ReadError("the size of a file in it is negative")
                    archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep them all
                    if not member.isreg() or member.sparse is not None:
                        continue
                    key, suffix = _split_name(member.name)
                    found.append((key, member))
                    if suffix in labels and member.size <= _MAX_LABEL and (content := archive.extractfile(member)):
                        labels[suffix][key] = _label_of(content.read(), suffix)
                stream.seek(archive.offset)
                if stream.read(512) != bytes(512):  # tarfile stops at a damaged header without an error
                    raise tarfile.ReadError("there is no block of zeros at its end")
        except (tarfile.TarError, OSError) as error:
            raise_if_system_error(error, file.display_path)
            message = f"{file.display_path} is truncated or damaged, or not a tar ({error})"
            raise CatsDogsError(message, "Download it again") from error
    if split := split_of(stem_of(file.parts[-1])):
        parts = (*parts, split)
    names = {key: _class_of(label, classes) for of in (labels["json"], labels["cls"]) for key, label in of.items()}
    with_image = {key for key, member in found if is_image(member.name)}
    members: list[ImageFile] = []
    for key, member in found:
        if not (path := path_of(member.name)):
            continue
        *folders, name = path
        if is_image(name):
            label = [names[key]] if names.get(key) else []
            place = (*parts, *folders, *label, name)
        elif key not in with_image:
            place = (*parts, *folders, name)
        else:
            continue
        shown = f"{file.display_path}/{'/'.join((*folders, name))}"
        members.append(_TarMember(place, shown, file, member.offset_data, member.size))
    return members


def _split_name(name: str) -> tuple[str, str]:
    """Return the key of a sample, which is a file's path up to its first dot, and the rest of the name."""
    folder, slash, base = name.rpartition("/")
    key, _, suffix = base.partition(".")
    return folder + slash + key, suffix.lower()


def _label_of(content: bytes, suffix: str) -> str:
    """Return the label in a file of a sample as text; empty if there is none."""
    try:
        value = content.decode() if suffix == "cls" else json.loads(content)
    except (ValueError, RecursionError):
        return ""
    if isinstance(value, dict):
        value = next((value[key] for key in _LABELS if key in value), "")
    label = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return "" if "/" in label else label


def _class_of(label: str, classes: Classes | None) -> str:
    """Return the name of a label: of 0 and 1, that of a class, unless the classes are numbers themselves."""
    if classes and label in ("0", "1") and not all(map(str.isdecimal, classes)):
        return classes[int(label)]
    return label
