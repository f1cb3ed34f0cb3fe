import hashlib
import json

import pytest
from support.cache import fill, tree

from catsdogs.cache import load_features, read_manifest
from catsdogs.errors import CatsDogsError
from catsdogs.storage import to_sealed_json


def test_the_manifest_says_what_made_the_features_and_vouches_for_files(cache):
    folder = cache / "features"
    content = json.loads((folder / "manifest.json").read_text())
    claimed = content.pop("sha256")
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    assert claimed == hashlib.sha256(text.encode()).hexdigest()
    small = [path for path in (folder / "train").iterdir() if path.name not in ("224.npy", "224m.npy")]
    assert content == {
        "format": 1,
        "classes": ["cat", "dog"],
        "backbone": {"form": "tiny.keras", "sha256": "ab" * 32, "fingerprint": "file:1"},
        "pixels": "squashed",
        "precision": "float32",
        "engine": "none",
        "versions": {"numpy": "2"},
        "views": ["224", "224m"],
        "splits": {
            "train": {
                "images": 4,
                "labelled": 4,
                "complete": True,
                "done": {"224": 4, "224m": 4},
                "unreadable": 1,
                "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in small},
            },
            "test": content["splits"]["test"],
        },
        "renames": [],
        "removals": [],
    }


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"[" * 100_000, b"\xff", b'{"format": 1}'])
def test_a_manifest_that_is_none_stops_reader_and_writer(cache, content):
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
        ("backbone", 5, "int"),
        ("classes", ["cat"], "classes"),
        ("views", "\ud800", "surrogates"),
    ],
)
def test_sealed_content_of_other_types_or_paths_that_lead_out_is_refused(cache, key, value, claim):
    precious, path = cache / "precious", cache / "features/manifest.json"
    precious.write_bytes(b"mine")
    content = json.loads(path.read_text()) | {key: value}
    content.pop("sha256")
    path.write_bytes(to_sealed_json(content))
    for attempt in (load_features, fill):
        with pytest.raises(CatsDogsError, match=rf"manifest\.json is damaged: .*{claim}"):
            attempt(cache)
    assert precious.read_bytes() == b"mine"


def test_a_newer_format_is_refused(cache):
    path = cache / "features" / "manifest.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    for attempt in (load_features, fill):
        with pytest.raises(CatsDogsError, match=r"is of format 2, and this version reads format 1.*Use the version"):
            attempt(cache)


def test_without_a_manifest_there_are_no_features(cache, whole):
    (cache / "features" / "manifest.json").unlink()
    with pytest.raises(CatsDogsError, match=r"there are no train features in .*catsdogs extract"):
        load_features(cache)
    assert len(fill(cache)) == 6
    assert tree(cache) == whole
