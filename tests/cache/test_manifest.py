import hashlib
import json

import pytest
from support.cache import VIEWS, fill, fresh, tree

from catsdogs.cache import load_features
from catsdogs.cache.manifest import read as read_manifest
from catsdogs.errors import CatsDogsError
from catsdogs.storage import to_sealed_json


def test_the_manifest_has_the_provenance_and_the_sha256_of_files(cache):
    folder = cache / "features"
    content = json.loads((folder / "manifest.json").read_text())
    claimed = content.pop("sha256")
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    assert claimed == hashlib.sha256(text.encode()).hexdigest()
    small = [path for path in (folder / "train").iterdir() if path.name not in ("224.npy", "224m.npy")]
    assert content == {
        "format": 2,
        "provenance": {
            "weights_name": "tiny.keras",
            "sha256": "ab" * 32,
            "fingerprint": "file:1",
            "pixels": "squashed",
            "precision": "float32",
            "engine": "none",
            "versions": {"numpy": "2"},
            "network": "",
        },
        "views": ["224", "224m"],
        "splits": {
            "train": {
                "images": 4,
                "labelled": 4,
                "unreadable": 1,
                "views": ["224", "224m"],
                "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in small},
            },
            "test": content["splits"]["test"],
        },
        "classes": ["cat", "dog"],
        "int8_similarity": None,
        "renames": [],
        "removals": [],
    }


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"[" * 100_000, b"\xff", b'{"format": 2}'])
def test_an_invalid_manifest_stops_reader_and_writer(cache, content):
    (cache / "features" / "manifest.json").write_bytes(content)
    before = tree(cache)
    for attempt in (load_features, fill, lambda root: read_manifest(root / "features")):
        with pytest.raises(CatsDogsError, match=r"manifest\.json is damaged.*catsdogs extract"):
            attempt(cache)
    assert tree(cache) == before


@pytest.mark.parametrize(
    ("key", "value", "claim"),
    [
        ("removals", ["../precious"], "removals"),
        ("renames", ["train/../../precious.npy"], "renames"),
        ("views", ["../precious"], "views"),
        ("splits", {"..": {}}, "splits"),
        ("splits", {"train": {"images": "4"}}, "images"),
        ("provenance", 5, "int"),
        ("splits", {"train": None}, "null"),
        ("classes", ["cat"], "classes"),
        ("views", "\ud800", "surrogates"),
    ],
)
def test_a_manifest_of_wrong_types_or_with_outside_paths_is_refused(cache, key, value, claim):
    precious, path = cache / "precious", cache / "features/manifest.json"
    precious.write_bytes(b"mine")
    content = json.loads(path.read_text()) | {key: value}
    content.pop("sha256")
    path.write_bytes(to_sealed_json(content))
    for attempt in (load_features, fill):
        with pytest.raises(CatsDogsError, match=rf"manifest\.json is damaged: .*{claim}"):
            attempt(cache)
    assert precious.read_bytes() == b"mine"


@pytest.mark.parametrize(("one", "other"), [('"images": 4', '"images": 5'), ("tiny.keras", "tidy.keras"), ("ab", "aa")])
def test_a_manifest_with_one_changed_letter_is_refused(cache, one, other):
    path = cache / "features" / "manifest.json"
    path.write_text(path.read_text().replace(one, other, 1))
    for attempt in (load_features, fill):
        with pytest.raises(
            CatsDogsError, match=r"manifest\.json is damaged: it does not match its own SHA-256\. Restore"
        ):
            attempt(cache)


@pytest.mark.parametrize("number", [1, 3])
def test_another_format_is_refused_in_one_line(cache, number):
    path = cache / "features" / "manifest.json"
    path.write_text(path.read_text().replace('"format": 2', f'"format": {number}'))
    before = tree(cache)
    for attempt in (load_features, fill):
        with pytest.raises(
            CatsDogsError, match=rf"format {number}, but this version of catsdogs reads format 2.*Use"
        ) as refused:
            attempt(cache)
        assert len(str(refused.value).splitlines()) == 1
    assert tree(cache) == before


FORMAT_1 = """{
  "format": 1,
  "classes": ["cat", "dog"],
  "backbone": {"form": "tiny.keras", "sha256": "abab", "fingerprint": "file:1"},
  "pixels": "squashed",
  "precision": "float32",
  "engine": "none",
  "versions": {"numpy": "2"},
  "views": ["224"],
  "splits": {"train": {"images": 3, "labelled": 3, "complete": true, "done": {"224": 3}, "unreadable": 0, "sha256": {}}
  },
  "renames": [],
  "removals": [],
  "sha256": "e6ff698606b36f0a2e8744cfcb954a4e0c0c2b90380273a623f8474ab7a9745b"
}
"""


def test_a_manifest_of_format_1_is_refused_for_its_format(cache):
    (cache / "features" / "manifest.json").write_text(FORMAT_1)
    for attempt in (load_features, fill):
        with pytest.raises(
            CatsDogsError, match=r"has format 1, but .* remove the folder of this file and run catsdogs ex"
        ):
            attempt(cache)


@pytest.mark.parametrize("views", [VIEWS, ("224",)])
def test_without_a_manifest_nothing_is_read_and_nothing_computed_again(tmp_path, views):
    fill(tmp_path, views=views)
    (tmp_path / "features" / "manifest.json").unlink()
    with pytest.raises(CatsDogsError, match=r"there are no features in .*catsdogs extract"):
        load_features(tmp_path)
    # What is unreadable is tried again: nothing vouches for the reasons.
    assert all(image.startswith(b"!") for image in fill(tmp_path, views=views))
    assert tree(tmp_path) == fresh(views=views)


def test_uncommitted_files_of_a_killed_run_are_removed_by_the_next(cache, whole):
    folder = cache / "features"
    strays = ["manifest.json.new", "train/224.npy.new", "test/unreadable.csv.new", "int8.0123456789abcdef.xml"]
    for name in strays:
        (folder / name).write_bytes(b"half")
    assert load_features(cache)
    assert tree(cache).keys() == {*whole, *strays}
    assert fill(cache) == {}
    assert tree(cache) == whole
