"""Features in files of Parquet: what `extract --parquet` writes, restarts, faults, and other programs that read it."""

import base64
import json
import shutil
from dataclasses import replace
from importlib.util import find_spec
from unittest import mock

import numpy as np
import pytest
from support.cluster import LOGGED_FILES, extract_on_ray, noted

import catsdogs
from catsdogs import OptionError

pytest.importorskip("pyarrow", reason="needs the extra parquet")

from support.at_rest import PROVENANCE, error_of, write_rows

from catsdogs.backbone import Weights
from catsdogs.cache import parquet
from catsdogs.cache.parquet import FeatureFiles, RangeFiles, file_ranges
from catsdogs.cli.summaries import extraction_lines
from catsdogs.inference.at_rest import ParquetWorker, compute_to_parquet
from catsdogs.inference.plan import ComputeOptions, resolve
from catsdogs.inference.ranges import RangeJob
from catsdogs.sources import Source

IMAGES = 260


@pytest.fixture(scope="module")
def data(tmp_path_factory, draw, encode, write_folder):
    """Of the images, one is no image, one a copy of another; ten are of the test split, without labels."""
    files = {f"train/{('cat', 'dog')[n % 2]}.{n}.png": encode(draw(n, (64, 48))) for n in range(IMAGES - 10)}
    files |= {"train/dog.7.png": b"this is no image", "train/cat.100.png": files["train/cat.4.png"]}
    files |= {f"test/{n}.png": encode(draw(1000 + n, (64, 48))) for n in range(10)}
    return write_folder(tmp_path_factory.mktemp("data"), files)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data, tiny_backbone):
    """The folder that this process writes, and the result."""
    folder = tmp_path_factory.mktemp("whole")
    options = {"artifacts": folder / "a", "weights": str(tiny_backbone), "parquet": folder / "rows"}
    return folder / "rows", catsdogs.extract(data, **options)


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_rows_are_those_of_the_cache_with_copies_and_reasons(whole, data, tiny_backbone, tmp_path):
    folder, done = whole
    assert (done.computed, done.images) == (IMAGES - 1, {"train": IMAGES - 10, "test": 10})
    assert done.unreadable["train"].keys() == {"dog.7"}
    catsdogs.extract(data, artifacts=tmp_path, weights=str(tiny_backbone), near_duplicates=False)
    files = FeatureFiles(folder)
    assert files.ranges == file_ranges(IMAGES)
    tables = [*files.tables()]
    splits = [split for table in tables for split in table.splits]
    for name in ("train", "test"):
        cached, rows = catsdogs.load_features(tmp_path, split=name), np.array(splits) == name
        for column in ("ids", "labels", "digests", "facts"):
            found = np.concatenate([getattr(table, column) for table in tables])[rows]
            assert found.tobytes() == np.asarray(getattr(cached, column)).astype(found.dtype).tobytes(), column
        features = np.concatenate([table.features["224"] for table in tables])[rows]
        assert np.array_equal(features, cached.features, equal_nan=True)
        reasons = np.concatenate([table.reasons for table in tables])[rows]
        assert {image: why for image, why in zip(cached.ids, reasons, strict=True) if why} == cached.unreadable
    assert files.manifest.provenance == cached.provenance


def test_a_run_that_fails_goes_on_and_computes_no_row_again(whole, data, tiny_backbone, tmp_path):
    options = {"artifacts": tmp_path / "a", "weights": str(tiny_backbone), "parquet": tmp_path / "rows"}
    write, times = parquet.write_atomic, []

    def fail_at_the_third(path, content, **given):
        times.append(path)
        if len(times) == 3:
            (path.parent / given["temporary_name"]).write_bytes(content[:100])
            raise OSError(28, "No space left on device")
        write(path, content, **given)

    with mock.patch.object(parquet, "write_atomic", fail_at_the_third):
        assert "cannot be written (No space left on device)" in error_of(lambda: catsdogs.extract(data, **options))
    assert "lacks the rows of 132 of 260 images" in error_of(lambda: FeatureFiles(tmp_path / "rows"))
    assert catsdogs.extract(data, **options).computed == IMAGES - 128 - 1
    again = catsdogs.extract(data, **options)
    assert again.computed == 0
    assert any("all were in files of Parquet" in text for _, text in extraction_lines(again, tmp_path))
    assert files_of(tmp_path / "rows") == files_of(whole[0])


def test_two_runs_into_one_folder_do_not_disturb_each_other(whole, data, tiny_backbone, tmp_path):
    write, runs = parquet.write_atomic, []
    options = {"artifacts": tmp_path / "a", "weights": str(tiny_backbone), "parquet": tmp_path / "rows"}

    def write_after_another_run(path, content, **given):
        temporary = path.parent / given["temporary_name"]
        if not runs:
            runs.append(1)
            temporary.parent.mkdir()
            temporary.write_bytes(content)
            catsdogs.extract(data, **options | {"artifacts": tmp_path / "b"})
            raise FileNotFoundError(2, "No such file or directory") if not temporary.exists() else AssertionError
        write(path, content, **given)

    with mock.patch.object(parquet, "write_atomic", write_after_another_run):
        catsdogs.extract(data, **options)
    assert runs
    assert files_of(tmp_path / "rows") == files_of(whole[0])


def test_other_images_and_another_provenance_are_refused(whole, data, tiny_backbone, tmp_path, write_folder):
    before, options = files_of(whole[0]), {"artifacts": tmp_path / "a", "parquet": whole[0]}
    other = tmp_path / "other.keras"
    other.write_bytes(tiny_backbone.read_bytes()[:-1] + b"7")
    for given, weights in ((data, other), (data / "train", tiny_backbone)):
        message = error_of(
            lambda given=given, weights=weights: catsdogs.extract(given, weights=str(weights), **options)
        )
        assert "has rows of other images, another provenance or another program. Give a folder" in message
    assert files_of(whole[0]) == before


@pytest.mark.parametrize("options", [{"part": "1/2"}, {"prune": True}])
def test_options_that_do_not_fit_are_refused(options, data, tmp_path):
    with pytest.raises(OptionError, match="parquet excludes part and prune"):
        catsdogs.extract(data, artifacts=tmp_path / "a", parquet=tmp_path / "rows", **options)
    assert not (tmp_path / "rows").exists()


def test_an_empty_path_is_refused_and_no_cache_written_instead(data, tiny_backbone, tmp_path):
    message = error_of(lambda: catsdogs.extract(data, artifacts=tmp_path / "a", weights=str(tiny_backbone), parquet=""))
    assert message.startswith("'' cannot be a path")
    assert not (tmp_path / "a").exists()


def spoil(folder, kind):
    """Do something to the second file of a copy of some rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = sorted(folder.iterdir())[1]
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    elif kind == "flipped":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif kind == "of unknown integers":
        content = path.read_bytes()
        schema = pq.read_metadata(path).metadata[b"ARROW:schema"]
        forged = base64.b64decode(schema).replace(b"\1\x08\0\0\0", b"\1\xc8\0\0\0")  # of the labels, 200 bits
        path.write_bytes(content.replace(schema, base64.b64encode(forged)))
    elif kind == "of 7 rows in a group":
        path.write_bytes(path.read_bytes().replace(b"\x16\x80\1\x26\x08", b"\x16\x8e\0\x26\x08"))
    elif kind == "missing":
        path.unlink()
    elif kind == "foreign":
        pq.write_table(pa.table({"x": [1]}), folder / "x.parquet")
    elif kind == "renamed":
        pq.write_table(pa.table({"x": [1]}), path)
    elif kind == "without metadata":
        pq.write_table(pq.read_table(path).replace_schema_metadata(), path)
    elif kind == "of a broken seal":
        table = pq.read_table(path)
        metadata = table.schema.metadata[b"catsdogs"].replace(b'"float32"', b'"float16"')
        pq.write_table(table.replace_schema_metadata({"catsdogs": metadata}), path)
    elif kind == "a column less":
        pq.write_table(pq.read_table(path).drop_columns("label"), path)
    elif kind == "of another backbone":
        write_rows(folder / "other", images=128, provenance=replace(PROVENANCE, sha256="1" * 64))
        sorted((folder / "other").iterdir())[1].replace(path)
        shutil.rmtree(folder / "other")
    elif kind == "a row less":
        pq.write_table(pq.read_table(path).slice(1), path)
    else:
        for path in folder.iterdir():
            path.unlink()


SPOILT = {
    "truncated": "is damaged: ",
    "flipped": "is damaged: ",
    "of unknown integers": "is damaged: Integers with more than 64 bits not implemented. Remove this file",
    "of 7 rows in a group": "is damaged: it has other columns, rows or metadata",
    "missing": "lacks the rows of 64 of 260 images. Run catsdogs extract DATA with this --parquet",
    "foreign": "x.parquet has rows of other images, another provenance or another program",
    "renamed": "is damaged: it has no provenance. Remove this file, and run catsdogs extract",
    "without metadata": "is damaged: it has no provenance. Remove this file",
    "of a broken seal": "is damaged: it has no provenance. Remove this file",
    "a column less": "is damaged: it has other columns, rows or metadata",
    "of another backbone": "has rows computed by made up (11111111, float32, numpy, view 224, made up), the first",
    "a row less": "is damaged: it has other columns, rows or metadata",
    "empty": "has no features. Run catsdogs extract DATA with this --parquet",
}


@pytest.mark.parametrize(("kind", "finding"), SPOILT.items(), ids=SPOILT)
def test_a_folder_that_is_spoilt_is_one_line(kind, finding, whole, tmp_path, write_folder):
    folder = write_folder(tmp_path, files_of(whole[0]))
    spoil(folder, kind)
    assert finding in error_of(lambda: [*FeatureFiles(folder).tables()])


@pytest.mark.parametrize("kind", [kind for kind in SPOILT if kind not in ("flipped", "missing", "empty")])
def test_what_later_commands_would_refuse_is_refused_by_the_same_command(kind, whole, data, tiny_backbone, tmp_path):
    folder = shutil.copytree(whole[0], tmp_path / "rows")
    spoil(folder, kind)
    before, options = files_of(folder), {"artifacts": tmp_path / "a", "weights": str(tiny_backbone)}
    finding, *_ = SPOILT[kind].split(". ")
    assert finding in error_of(lambda: catsdogs.extract(data, **options, parquet=folder))
    assert files_of(folder) == before


def test_the_notes_of_a_cache_are_not_those_of_rows_in_parquet(whole, data, tiny_backbone, tmp_path, write_folder):
    """Else the cache would be continued, and its images shown, by the weights and the images of the rows."""
    rows, _ = whole
    assert json.loads((rows.parent / "a" / "source.json").read_text())["weights"] == str(tiny_backbone)
    images = {path.relative_to(data).as_posix(): path.read_bytes() for path in sorted(data.rglob("cat.*"))[:12]}
    images |= {path.relative_to(data).as_posix(): path.read_bytes() for path in sorted(data.rglob("dog.*"))[:12]}
    other = tmp_path / "other.keras"
    other.write_bytes(tiny_backbone.read_bytes()[:-1] + b"7")
    catsdogs.extract(write_folder(tmp_path / "few", images), artifacts=tmp_path / "a", weights=str(other))
    before = (tmp_path / "a" / "source.json").read_bytes()
    catsdogs.extract(data, artifacts=tmp_path / "a", weights=str(tiny_backbone), parquet=rows)
    assert (tmp_path / "a" / "source.json").read_bytes() == before


def test_polars_reads_the_rows_without_us(whole):
    polars = pytest.importorskip("polars", reason="not a dependency; install it to see whether it reads the rows")
    frame = polars.read_parquet(whole[0] / "*.parquet")
    assert frame.schema["features_224"] == polars.Array(polars.Float32, 2048)
    assert frame.filter(polars.col("reason").is_not_null())["id"].to_list() == ["dog.7"]
    expected = np.concatenate([table.features["224"] for table in FeatureFiles(whole[0]).tables()])
    found = frame["features_224"].to_list()
    assert np.array_equal(
        np.array([row for row in found if row], np.float32), expected[[row is not None for row in found]]
    )


def test_duckdb_reads_the_rows_without_us(whole):
    duckdb = pytest.importorskip("duckdb", reason="not a dependency; install it to see whether it reads the rows")
    query = "SELECT split, label, count(*), count(features_224), sum(features_224[1]) FROM '{}/*.parquet' GROUP BY ALL"
    found = {tuple(row[:4]) for row in duckdb.sql(query.format(whole[0])).fetchall()}
    assert found == {("train", 0, 125, 125), ("train", 1, 125, 124), ("test", None, 10, 10)}


def test_a_folder_without_object_storage_gets_whole_files_by_renaming(whole, data, tiny_backbone, tmp_path):
    import fsspec

    uri, memory = "memory://catsdogs/rows", fsspec.filesystem("memory")
    catsdogs.extract(data, artifacts=tmp_path, weights=str(tiny_backbone), parquet=uri)
    found = {path.rpartition("/")[2]: memory.cat_file(path) for path in memory.ls("/catsdogs/rows", detail=False)}
    assert found == files_of(whole[0])
    assert catsdogs.extract(data, artifacts=tmp_path, weights=str(tiny_backbone), parquet=uri).computed == 0


def test_a_machine_without_the_folder_of_the_artifacts_may_write_parquet(data, tiny_backbone, tmp_path):
    plan = resolve(tmp_path / "elsewhere", None, weights=Weights(str(tiny_backbone)), compute=ComputeOptions())
    with Source(data) as source:
        job = RangeJob(
            str(data), source.classes, source.listing, plan, "a process elsewhere", False, str(tmp_path / "rows")
        )
        worker = ParquetWorker(job, (0, 1))
        assert worker.prepare().provenance.engine == "numpy"
        (result,) = worker.exchange([range(64, 128)])
    assert result.positions == range(64, 128)
    assert [*RangeFiles(job.parquet).find()[0]] == [range(64, 128)]


def test_files_that_workers_write_where_this_process_finds_none_are_told(data, tiny_backbone, tmp_path):
    plan = resolve(tmp_path / "elsewhere", None, weights=Weights(str(tiny_backbone)), compute=ComputeOptions())
    with Source(data) as source:
        job = RangeJob(str(data), source.classes, source.listing, plan, parquet=str(tmp_path / "rows"))
        worker = ParquetWorker(replace(job, parquet=str(tmp_path / "theirs")), (0, 1))
        provenance = worker.prepare().provenance
        pool = mock.Mock(provenance=lambda: provenance, compute=lambda _, ranges, progress: worker.exchange(ranges[:1]))
        message = error_of(lambda: compute_to_parquet(job, source, pool))
    assert "lacks 5 of the files that this run has just written. Give a folder that all machines share" in message
    assert list(RangeFiles(str(tmp_path / "theirs")).find()[0]) == [range(64)]


@pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray")
@pytest.mark.slow
@pytest.mark.parametrize(("workers", "kills"), [(1, ""), (1, "1 2 5 8"), (2, "1 4 6 7")])
def test_workers_of_ray_that_are_killed_write_each_file_once(workers, kills, whole, data, tiny_backbone, tmp_path):
    options = ("--workers", workers, "--json", "--parquet", tmp_path / "rows")
    with extract_on_ray(data, tmp_path / "a", tiny_backbone, tmp_path, *options, code=LOGGED_FILES, KILLS=kills) as run:
        out, err = run.communicate(timeout=300)
    assert (run.returncode, err) == (0, "")
    assert len(noted(tmp_path, "kills")) == len(kills.split())
    assert files_of(tmp_path / "rows") == files_of(whole[0])
    assert [noted(tmp_path, name) for name in files_of(whole[0])] == [[1]] * len(file_ranges(IMAGES))
    done = json.loads(out)
    assert (done["computed"], done["unreadable"]["train"].keys()) == (IMAGES - 1, {"dog.7"})
    with extract_on_ray(data, tmp_path / "a", tiny_backbone, tmp_path, *options, code=LOGGED_FILES, KILLS="") as run:
        out, err = run.communicate(timeout=300)
    assert (run.returncode, err, json.loads(out)["computed"]) == (0, "", 0)
