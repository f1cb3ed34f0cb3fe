"""The probabilities of features in Parquet, in Parquet."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from support.program import command

import catsdogs
from catsdogs import CatsDogsError, head
from catsdogs.artifacts import Artifacts

pytest.importorskip("pyarrow", reason="needs the extra parquet")

import pyarrow.parquet as pq
from support.at_rest import PROVENANCE, write_rows


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Rows, and artifacts with a head of a sample of them."""
    folder = tmp_path_factory.mktemp("at_rest")
    write_rows(folder / "rows")
    catsdogs.subset(folder / "rows", images=300, artifacts=folder / "a")
    catsdogs.train(folder / "a")
    return folder / "rows", folder / "a"


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_all_rows_are_scored_as_the_head_scores_a_cache_of_them(trained, tmp_path):
    rows, artifacts = trained
    done = catsdogs.score(rows, tmp_path / "scores", artifacts=artifacts)
    assert (done.images, done.scored, done.classes) == (600, 599, ("cat", "dog"))
    assert done.unreadable == {"train": {"image.7": "no image"}}
    found = pq.read_table(tmp_path / "scores")
    assert found.column_names == ["split", "id", "probability", "reason"]
    assert found["id"].to_pylist() == [f"image.{position}" for position in range(600)]
    assert [at for at, value in enumerate(found["probability"].to_pylist()) if value is None] == [7]
    assert {at: reason for at, reason in enumerate(found["reason"].to_pylist()) if reason} == {7: "no image"}
    catsdogs.subset(rows, images=600, artifacts=tmp_path / "all")
    cached = catsdogs.load_features(tmp_path / "all")
    expected = head.load(Artifacts(artifacts)).classifier.probabilities(cached.features)
    scores = dict(zip(found["id"].to_pylist(), found["probability"].to_pylist(), strict=True))
    assert np.allclose([scores[name] for name in cached.ids], expected, atol=1e-6)


def test_scores_that_are_there_are_not_computed_again(trained, tmp_path):
    rows, artifacts = trained
    out = tmp_path / "scores"
    catsdogs.score(rows, out, artifacts=artifacts)
    before = files_of(out)
    for path in sorted(out.iterdir())[2:4]:
        path.unlink()
    done = command("score", rows, out, "--artifacts", artifacts)
    assert (done.returncode, done.stderr) == (0, "")
    assert "600, of which 128 scored now, 1 unreadable" in done.stdout
    assert "image.7: no image" in done.stdout
    assert files_of(out) == before


@pytest.mark.parametrize("left", [0, 300, -100])
def test_a_damaged_file_of_scores_is_refused_in_one_line(left, trained, tmp_path):
    rows, artifacts = trained
    catsdogs.score(rows, tmp_path / "scores", artifacts=artifacts)
    path = min((tmp_path / "scores").iterdir())
    path.write_bytes(path.read_bytes()[:left])
    done = command("score", rows, tmp_path / "scores", "--artifacts", artifacts)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {path} is damaged: ")
    assert ". Remove this file, and run the same command again: it computes" in done.stderr
    assert done.stderr.count("\n") == 1
    path.unlink()
    assert catsdogs.score(rows, tmp_path / "scores", artifacts=artifacts).scored == 63


@pytest.mark.parametrize("metadata", [None, {"catsdogs": '{"classes": ["dog", "cat"], "head": "0"}'}])
def test_scores_of_other_classes_or_of_nobody_are_refused(metadata, trained, tmp_path):
    rows, artifacts = trained
    catsdogs.score(rows, tmp_path / "scores", artifacts=artifacts)
    path = min((tmp_path / "scores").iterdir())
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
    with pytest.raises(CatsDogsError, match="is damaged: it has other columns, rows or metadata"):
        catsdogs.score(rows, tmp_path / "scores", artifacts=artifacts)


def test_scores_that_somebody_removes_at_once_are_told_without_workers(trained, tmp_path):
    rows, artifacts = trained

    def remove(step, done, total):
        min((tmp_path / "scores").iterdir()).unlink()

    with pytest.raises(CatsDogsError) as caught:
        catsdogs.score(rows, tmp_path / "scores", artifacts=artifacts, progress=remove)
    assert "lacks 10 of the files that this run has just written. Give a folder" in str(caught.value)
    assert not any(word in str(caught.value) for word in ("worker", "--parquet"))


def test_scores_in_a_folder_of_the_rows_do_not_spoil_these(trained, tmp_path):
    rows, artifacts = shutil.copytree(trained[0], tmp_path / "rows"), trained[1]
    for scored in (599, 0):
        assert catsdogs.score(rows, rows / "scores", artifacts=artifacts).scored == scored
    assert sum(catsdogs.subset(rows, images=20, artifacts=tmp_path / "a").images.values()) == 20


def test_a_file_is_no_folder_of_rows_or_scores(trained, tmp_path):
    rows, artifacts = trained
    (tmp_path / "file").write_bytes(b"mine")
    for given in ((tmp_path / "file", tmp_path / "scores"), (rows, tmp_path / "file"), (rows, tmp_path / "file/x")):
        with pytest.raises(CatsDogsError, match=r"cannot be read \(Not a directory\)"):
            catsdogs.score(*given, artifacts=artifacts)
    assert files_of(tmp_path) == {"file": b"mine"}


def test_another_head_and_rows_of_another_backbone_are_refused(trained, tmp_path):
    rows, artifacts = trained
    catsdogs.score(rows, tmp_path / "scores", artifacts=artifacts)
    catsdogs.subset(rows, images=200, artifacts=tmp_path / "b")
    catsdogs.train(tmp_path / "b")
    with pytest.raises(CatsDogsError, match="has rows of other images, another provenance or another program"):
        catsdogs.score(rows, tmp_path / "scores", artifacts=tmp_path / "b")
    with pytest.raises(CatsDogsError, match="has rows of other images, another provenance or another program"):
        catsdogs.score(rows, rows, artifacts=artifacts)
    other = write_rows(tmp_path / "other", images=20, provenance=replace(PROVENANCE, sha256="1" * 64))
    with pytest.raises(CatsDogsError, match=r"differ in the backbone\. Train on a sample of these rows"):
        catsdogs.score(other, tmp_path / "new", artifacts=artifacts)
    assert not (tmp_path / "new").exists()
