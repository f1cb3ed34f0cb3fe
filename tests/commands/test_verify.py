"""Whatever of the artifacts is damaged, `verify` says so, nothing is trained on it, and what it names mends it."""

import itertools
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.cache import EVERY, folder_in_memory

import catsdogs
from catsdogs import CatsDogsError
from catsdogs.cache.manifest import read as read_manifest
from catsdogs.cache.manifest import to_bytes
from catsdogs.cli.listings import verification_lines
from catsdogs.storage import to_sealed_json, unseal

NOTES = ("source.json", "timings.json")
"""What nothing depends on; they are no part of what is vouched for."""


def import_split(folder, split, labels, seed):
    features = np.random.default_rng(seed).normal(size=(24, 2048))
    ids = [f"{('cat', 'dog')[n % 2]}.{n}" for n in range(24)]
    views = {"224": (features + 0.2 * (np.arange(24) % 2)[:, np.newaxis]).astype(np.float32)}
    catsdogs.import_features(ids, labels, views=views, artifacts=folder, split=split)


def make(folder):
    import_split(folder, "train", np.arange(24) % 2, 0)
    import_split(folder, "test", None, 1)
    catsdogs.train(folder)
    catsdogs.submit(folder)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return {path: bytes} of artifacts that are well."""
    folder = make(tmp_path_factory.mktemp("whole"))
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.fixture
def artifacts(tmp_path, whole):
    return restore(tmp_path / "artifacts", whole)


def restore(folder, whole):
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in whole.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_an_intact_folder_is_OK_in_one_line(artifacts):
    found = catsdogs.verify(artifacts)
    assert (found.images, found.head, found.submission, found.problems) == ({"train": 24, "test": 24}, True, True, ())
    assert list(verification_lines(found)) == [
        ("OK", "24 train, 24 test images, every row matches its checksum"),
        ("", "head and submission unchanged, and made from these features"),
    ]


@pytest.mark.parametrize("renames", [(), ("train/labels.npy",)])
def test_verifying_writes_nothing_whatever_a_killed_run_has_left(artifacts, renames):
    manifest = read_manifest(artifacts / "features")
    for name in renames:
        (artifacts / "features" / name).rename(artifacts / "features" / f"{name}.new")
    (artifacts / "features/manifest.json").write_bytes(to_bytes(replace(manifest, renames=renames)))
    before = {path: path.stat().st_mtime_ns for path in artifacts.rglob("*")}
    catsdogs.verify(artifacts)
    assert {path: path.stat().st_mtime_ns for path in artifacts.rglob("*")} == before


def test_a_submission_of_another_head_is_not_well_until_it_is_written_anew(artifacts, tmp_path):
    (tmp_path / "without.csv").write_text("id\ncat.2\n")
    catsdogs.train(artifacts, exclude=tmp_path / "without.csv")
    found = catsdogs.verify(artifacts)
    (problem,) = found.problems
    assert "submission.csv: it was computed from another head or other features. Run catsdogs submit" in problem
    assert (found.head, found.submission) == (True, False)
    catsdogs.submit(artifacts)
    assert catsdogs.verify(artifacts).problems == ()


def test_where_there_is_nothing_to_verify_it_is_said(tmp_path):
    with pytest.raises(CatsDogsError, match=r"no features in .*catsdogs extract"):
        catsdogs.verify(tmp_path)


def flipped(content, random):
    position = random.randrange(len(content))
    return content[:position] + bytes([content[position] ^ 1 << random.randrange(8)]) + content[position + 1 :]


def zeroed(content, random):
    position = random.randrange(len(content))
    return content[:position] + bytes(min(512, len(content) - position)) + content[position + 512 :]


DAMAGES = {
    "flipped": flipped,
    "zeroed": zeroed,
    "cut": lambda content, random: content[: random.randrange(len(content))],
    "longer": lambda content, random: content + random.randbytes(random.randint(1, 9)),
    "missing": lambda content, random: None,
}
KINDS = [*DAMAGES, "swapped"]
STRIDE = 1 if EVERY == 1 else len(KINDS) - 1
"""Each file is damaged in each way in CI, and otherwise in one or two ways, which differ from file to file."""


def says_the_same(path, content, whole):
    """Whether nothing changed, or white space alone at the end of a file of JSON, which means nothing there."""
    if content is not None and path.endswith(".json"):
        return content.rstrip(b" \t\r\n") == whole.rstrip(b" \t\r\n")
    return content == whole


@given(st.randoms(use_true_random=True))
@settings(max_examples=max(1, settings.default.max_examples // 50), phases=[Phase.generate])
def test_no_damage_to_any_file_goes_unnoticed(whole, random):
    files, tried = sorted(set(whole) - set(NOTES)), []
    with folder_in_memory() as root:
        artifacts = restore(root / "artifacts", whole)
        for name, kind in itertools.islice(itertools.product(files, KINDS), 0, None, STRIDE):
            if kind == "swapped":
                other = random.choice(files)
                damaged = {name: whole[other], other: whole[name]}
            else:
                damaged = {name: DAMAGES[kind](whole[name], random)}
            damaged = {path: to for path, to in damaged.items() if not says_the_same(path, to, whole[path])}
            for path, content in damaged.items():
                (artifacts / path).unlink()
                if content is not None:
                    (artifacts / path).write_bytes(content)
            if damaged and damaged != {"submission.csv": None}:
                must_be_noticed(artifacts, damaged)
                tried.append((name, kind))
            for path in damaged:
                (artifacts / path).write_bytes(whole[path])
        assert catsdogs.verify(artifacts).problems == ()
    assert len(tried) > 0.8 * len(files) * len(KINDS) / STRIDE
    assert {kind for _, kind in tried} == set(KINDS)


def must_be_noticed(artifacts, damaged):
    if damaged.get("features/manifest.json", b"") is None:
        with pytest.raises(CatsDogsError, match="no features"):
            catsdogs.verify(artifacts)
    else:
        problems = catsdogs.verify(artifacts).problems
        assert problems, damaged.keys()
        # head.json in the manifest's place is one of another format.
        said = "".join(problems).replace("Use the version of catsdogs that wrote it", REMEDIES["features/manifest"])
        assert all("\n" not in problem for problem in problems)
        manifest = {path for path in damaged if path == "features/manifest.json"}  # without it, no other is judged
        assert {mends(path) for path in manifest or damaged} <= {
            remedy for remedy in REMEDIES.values() if remedy in said
        }
    if any(path.startswith(("features/train", "features/manifest")) for path in damaged):
        with pytest.raises(CatsDogsError):
            catsdogs.train(artifacts)
    if any(path.startswith(("features/test", "features/manifest", "head.npz", "head.json")) for path in damaged):
        with pytest.raises(CatsDogsError):
            catsdogs.submit(artifacts)


REMEDIES = {
    "features/manifest": "Restore this file from a copy",
    "features/duplicates": "Run catsdogs train",
    "features/": "Run catsdogs extract with the same images, or import",
    "submission": "Run catsdogs submit",
    "": "Run catsdogs train",
}
"""What must be said of a damaged file, by what its path starts with."""


def mends(path):
    return next(remedy for start, remedy in REMEDIES.items() if path.startswith(start))


def test_what_it_names_mends_it(artifacts, whole):
    for name in ("features/train/224.npy", "features/test/ids.npy", "head.npz", "metrics.json", "submission.csv"):
        os.truncate(artifacts / name, len(whole[name]) // 2)
    assert len(catsdogs.verify(artifacts).problems) == 4  # of what train writes, the first is named
    make(artifacts)
    assert catsdogs.verify(artifacts).problems == ()
    written = {name: (artifacts / name).read_bytes() for name in whole if name not in NOTES}
    assert written == {name: content for name, content in whole.items() if name not in NOTES}


def test_duplicates_of_an_older_version_are_stale_until_train_finds_them_again(artifacts):
    path = artifacts / "features/duplicates.json"
    older = json.loads(path.read_bytes()) | {"method": 1}
    unseal(older)
    path.write_bytes(to_sealed_json(older))
    (problem,) = catsdogs.verify(artifacts).problems
    assert "duplicates.npy is missing, damaged or stale. Run catsdogs train" in problem
    catsdogs.train(artifacts)
    assert catsdogs.verify(artifacts).problems == ()


def test_a_head_of_other_features_and_a_note_that_is_none_are_not_well(artifacts):
    import_split(artifacts, "train", 1 - np.arange(24) % 2, 0)
    (artifacts / "source.json").write_text("{")
    head, note = catsdogs.verify(artifacts).problems
    assert "the training features changed after the head was trained. Run catsdogs train" in head
    assert "source.json is damaged: it is not JSON. Delete this file" in note
