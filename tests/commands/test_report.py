import json
import os
import shutil

import numpy as np
import pytest
from support.report import Page

import catsdogs
from catsdogs import CatsDogsError
from catsdogs.artifacts import Artifacts
from catsdogs.cli.summaries import report_lines
from catsdogs.reporting import galleries
from catsdogs.reporting.findings import gather


@pytest.fixture(scope="module")
def data(reportable):
    return reportable / "data"


@pytest.fixture
def copy(reportable, tmp_path):
    return shutil.copytree(reportable / "artifacts", tmp_path / "copy")


def test_the_page_is_the_same_each_time_and_from_a_folder_as_from_a_zip(copy, data, zipped, tmp_path):
    first = catsdogs.report(copy).path.read_bytes()
    assert catsdogs.report(copy).path.read_bytes() == first
    files = {os.fsencode(path.relative_to(data)).decode("utf-8", "replace"): path for path in data.rglob("*.jpg")}
    (tmp_path / "all.zip").write_bytes(zipped({name: path.read_bytes() for name, path in files.items()}))
    notes = dict.fromkeys(("train", "test"), str(tmp_path / "all.zip"))
    (copy / "source.json").write_text(json.dumps(notes))
    from_zip = catsdogs.report(copy)
    assert from_zip.missing <= 1  # that name is no UTF-8, and so is another one here
    images = [attributes["src"] for attributes in Page(first).all("img")]
    assert {attributes["src"] for attributes in Page(from_zip.path.read_bytes()).all("img")} <= set(images)


def test_the_terminal_says_what_is_written_and_missing_within_80_columns(tmp_path):
    done = catsdogs.Report(tmp_path / "report.html", 1_234_567, 86, 1, ("there is no data",), 12.3)
    lines = list(report_lines(done, tmp_path))
    assert [name for name, _ in lines] == ["report", "", "", "wrote", "next"]
    assert lines[0][1] == "one page with 86 images, 1.2 MB, in 12.3 s"
    assert lines[1][1].startswith("1 image could not be shown")
    assert lines[2][1] == "there is no data"
    assert all(len(text) <= 68 for _, text in lines if str(tmp_path) not in text)


@pytest.mark.parametrize("place", [{}, None])
def test_a_note_that_names_no_path_costs_the_pictures_alone(copy, place):
    (copy / "source.json").write_text(json.dumps({"train": place}))
    done = catsdogs.report(copy)
    assert (done.images, done.problems) == (0, (f"{place} does not exist",))


def test_images_that_are_gone_or_changed_are_named_and_the_rest_is_shown(copy, data, tmp_path, encode, draw):
    moved = shutil.copytree(data, tmp_path / "moved")
    (copy / "source.json").write_text(json.dumps(dict.fromkeys(("train", "test"), str(moved))))
    shown = galleries.choose_galleries(gather(Artifacts(copy)))
    gone, changed = (image.id for image in shown["right_0"].images[:2])
    (moved / f"train/{gone}.jpg").unlink()
    (moved / f"train/{changed}.jpg").write_bytes(encode(draw(9), "JPEG"))
    done = catsdogs.report(copy)
    page = Page(done.path.read_bytes())
    assert (done.missing, done.problems) == (2, ())
    assert "no thumbnail: the file is missing" in page.text
    assert "no thumbnail: the file has changed since feature extraction" in page.text
    assert gone in page.text
    shutil.rmtree(moved)
    done = catsdogs.report(copy)
    assert (done.images, done.problems) == (0, (f"{moved} does not exist",))
    page = Page(done.path.read_bytes())
    assert f"{moved} does not exist." in page.text
    assert page.all("img") == []
    assert f"{json.loads((copy / 'metrics.json').read_text())['log_loss']:.4f}" in page.text


def test_of_imported_features_all_is_shown_but_the_pictures(tmp_path):
    labels = np.arange(60) % 2
    values = np.random.default_rng(0).normal(size=(60, 2048)).astype(np.float32) + labels[:, np.newaxis]
    catsdogs.import_features([f"<{n}>" for n in range(60)], labels, views={"224": values}, artifacts=tmp_path)
    catsdogs.train(tmp_path)
    done = catsdogs.report(tmp_path)
    page = Page(done.path.read_bytes())
    assert done.images == 0
    for said in (
        "The features were imported",
        "None. All training images are classified correctly.",
        "None. No label is likely to be wrong.",
        "None. No two images are identical or near-duplicates.",
        "None. All training images could be read.",
        "There is no test split.",
        "Not measured.",
    ):
        assert said in page.text


def test_a_head_of_other_features_is_refused_and_the_report_stays(copy, data, cache_of, tmp_path):
    before = catsdogs.report(copy).path.read_bytes()
    fewer = shutil.copytree(data, tmp_path / "fewer")
    (fewer / "train/cat.7.jpg").unlink()
    shutil.rmtree(copy / "features")
    cache_of(fewer, copy)
    with pytest.raises(CatsDogsError, match=r"the training features changed after .*\. Run catsdogs train"):
        catsdogs.report(copy)
    assert (copy / "report.html").read_bytes() == before


def test_damage_is_said_and_nothing_is_shown_of_it(copy):
    (copy / "predictions.csv").write_text("id,label,probability,fold\ncat.1,0,0.1,0\n")
    with pytest.raises(CatsDogsError, match=r"predictions\.csv is missing, or was changed"):
        catsdogs.report(copy)
    assert not (copy / "report.html").exists()


def test_it_waits_for_nobody_who_is_writing(copy):
    from filelock import FileLock

    with (
        FileLock(copy.resolve() / ".results.lock", is_singleton=False),
        pytest.raises(CatsDogsError, match="is being written by another run"),
    ):
        catsdogs.report(copy)
    assert not (copy / "report.html").exists()
