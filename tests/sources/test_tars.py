"""Tar shards as WebDataset and img2dataset write them, and damaged ones."""

import io
import json
import pickle
import tarfile

import pytest
from support.sources import contents, failure

import catsdogs
from catsdogs.sources import Source


def tar_of(files, form=tarfile.PAX_FORMAT):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def listed(path, **options):
    with Source(path, **options) as source:
        found = [(i, source.classes[int(n)]) for of in source.splits.values() for i, n in zip(of.ids, of.labels)]  # noqa: B905
        return found, sum(of.files for of in source.scan.skipped)


def test_labels_are_in_files_of_a_class_or_in_json(tmp_path):
    files = {
        "000.jpg": b"a",
        "000.cls": b"dog\n",
        "001.cls": b"cat",
        "001.jpg": b"b",
        "002.jpg": b"c",
        "002.json": json.dumps({"caption": "a cat", "label": "dog"}).encode(),
        "002.txt": b"a cat",
        "003.jpg": b"d",
        "003.json": b'{"label": "dog"}',
        "003.cls": b"cat",
    }
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        (tmp_path / "00000.tar").write_bytes(tar_of(files, form))
        expected = [("cat.001", "cat"), ("cat.003", "cat"), ("dog.000", "dog"), ("dog.002", "dog")]
        assert listed(tmp_path / "00000.tar") == (expected, 0)


def test_numbers_are_the_classes_in_their_order_unless_the_classes_are_numbers(tmp_path):
    for number in range(3):
        files = {f"{number}{n}.jpg": b"%d" % n for n in (0, 1)} | {f"{number}{n}.cls": b"%d" % n for n in (0, 1)}
        (tmp_path / f"{number:05}.tar").write_bytes(tar_of(files))
    assert listed(tmp_path)[0][::3] == [("0.00", "0"), ("1.01", "1")]
    assert listed(tmp_path, classes=("ant", "bee"))[0][::3] == [("ant.00", "ant"), ("bee.01", "bee")]
    assert listed(tmp_path, default_classes=("ant", "bee"))[0][0] == ("ant.00", "ant")
    assert listed(tmp_path, classes=("1", "0"))[0][0] == ("0.00", "0")


def test_shards_are_one_source_and_their_names_give_the_split(tmp_path, pictures, write_folder):
    shards = {f"{split}-{number:06}.tar": {} for split in ("train", "val") for number in (0, 1)}
    for number, (name, content) in enumerate(pictures.items()):
        shard = shards[f"{'train' if 'train' in name else 'val'}-{number % 2:06}.tar"]
        shard[f"{number:04}.jpg"] = content
        if "train" in name:
            shard[f"{number:04}.cls"] = name[6:9].encode()
    write_folder(tmp_path, {name: tar_of(files) for name, files in shards.items()} | {"00000.parquet": b""})
    found = contents(tmp_path)
    assert [(i, label) for i, label, _ in found["train"]] == [
        *((f"cat.000{n}", 0) for n in range(3)),
        *((f"dog.000{n}", 1) for n in range(3, 6)),
    ]
    assert [content for _, _, content in (*found["train"], *found["test"])] == list(pictures.values())


def test_a_tar_of_folders_is_read_as_they_are(tmp_path, pictures, write_folder):
    write_folder(tmp_path / "folder", pictures)
    (tmp_path / "pets.tar").write_bytes(tar_of({f"./{name}": of for name, of in pictures.items()}))
    assert contents(tmp_path / "pets.tar") == contents(tmp_path / "folder")


def test_steps_up_in_the_names_of_a_tar_are_left_out(tmp_path, pictures, write_folder):
    write_folder(tmp_path / "folder", pictures)
    files = {f"../{name}": content for name, content in pictures.items()} | {"..": b"no name", ".": b""}
    (tmp_path / "pets.tar").write_bytes(tar_of(files))
    assert contents(tmp_path / "pets.tar") == contents(tmp_path / "folder")


def test_nothing_is_unpickled_and_labels_that_are_none_are_none(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    bomb = pickle.dumps(Bomb())
    files = {f"{n}.jpg": b"x" for n in range(6)} | {"0.pyd": bomb, "0.pkl": bomb, "1.cls": bomb, "2.json": bomb}
    files |= {"3.json": b'{"label": ["cat"]}', "4.json": b'{"label": true}', "5.cls": b"../../cat"}
    (tmp_path / "x.tar").write_bytes(tar_of(files))
    with Source(tmp_path / "x.tar") as source:
        assert source.scan.images == {"test": {"unlabelled": 6}}


def test_features_of_a_tar_are_those_of_a_folder(tmp_path, pictures, write_folder, tiny_backbone):
    write_folder(tmp_path / "folder", pictures)
    (tmp_path / "pets.tar").write_bytes(tar_of(pictures))
    for name in ("folder", "pets.tar"):
        catsdogs.extract(tmp_path / name, artifacts=tmp_path / f"of {name}", weights=str(tiny_backbone))
    for path in (tmp_path / "of folder/features").rglob("*.npy"):
        assert path.read_bytes() == (tmp_path / "of pets.tar" / path.relative_to(tmp_path / "of folder")).read_bytes()


@pytest.mark.parametrize("damage", ["cut in a file", "cut in a header", "cut between files", "a header", "empty"])
def test_a_truncated_or_damaged_tar_is_refused(tmp_path, damage):
    content = bytearray(tar_of({f"cat.{n}.jpg": bytes([n]) * 600 for n in range(4)}, tarfile.USTAR_FORMAT))
    stop = {
        "cut in a file": 3 * 1536 + 700,
        "cut in a header": 2 * 1536 + 100,
        "cut between files": 2 * 1536,
        "empty": 0,
    }
    if damage == "a header":
        content[1536 + 20] ^= 1
    (tmp_path / "x.tar").write_bytes(content[: stop.get(damage, len(content))])
    assert "x.tar is truncated or damaged, or not a tar" in failure(tmp_path / "x.tar")


def test_a_negative_size_by_which_a_header_would_follow_itself_is_refused(tmp_path):
    content = bytearray(tar_of({"cat.1.jpg": b"x", "dog.1.jpg": b"y"}, tarfile.GNU_FORMAT))
    header = content[1024:1536]
    header[124:136], header[148:156] = (-512).to_bytes(12, "big", signed=True), b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "x.tar").write_bytes(content[:1024] + header + content[1536:])
    assert "x.tar is truncated or damaged" in failure(tmp_path / "x.tar")
