"""Parts in object storage, a real S3 server on the loopback address that counts requests and fails."""

import json
import os
import shutil
import signal
import tempfile
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import pytest
from support.backbone import write_backbone
from support.cache import flip, tree
from support.cluster import extract_on_ray
from support.program import command, end, stopped

import catsdogs
from catsdogs import CatsDogsError, OptionError
from catsdogs.cache import RemoteParts, shards
from catsdogs.cache.shards import count_rows
from catsdogs.sources import remote

pytest.importorskip("moto", reason="the server needs moto[server]")
pytest.importorskip("s3fs", reason="S3 needs catsdogs[remote]")

from support.servers import Response, s3_server, web_server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(moto|botocore|werkzeug)")

SECRET = "wJalrXUtnFEMI-K7MDENG"


@pytest.fixture(scope="module")
def running_s3():
    with s3_server("parts", {}, SECRET) as server:
        yield server


@pytest.fixture
def s3(running_s3, monkeypatch, tmp_path):
    """The server without faults and counts; milliseconds between attempts, and temporary files in a folder."""
    monkeypatch.setattr(remote, "_PAUSES", (0.01, 0.02, 0.04))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    running_s3.fault = None
    running_s3.reset()
    yield running_s3
    assert not list((tmp_path / "tmp").glob("catsdogs-*"))


@pytest.fixture
def computed(s3, compute, request):
    """The URIs of three parts in a folder of the test's own."""
    uris = [f"s3://parts/{request.node.name}/{number}" for number in (1, 2, 3)]
    for number, uri in enumerate(uris, 1):
        compute(uri, part=f"{number}/3")
    s3.reset()
    return uris


def files_at(uri):
    return {"/".join(file.parts): file for file in remote.RemoteFolder(uri).list_files(missing_ok=True)}


def puts(server):
    return [path for method, path, _ in server.requests if method == "PUT"]


def error_of(call, *arguments, **options):
    with pytest.raises(CatsDogsError) as refused:
        call(*arguments, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_parts_in_object_storage_merge_into_the_bytes_of_one_machine(s3, compute, whole, data, tmp_path):
    for number in (1, 2):
        done = compute(f"s3://parts/two/{number}", part=f"{number}/2")
        assert (done.part, done.uri) == (f"{number}/2", f"s3://parts/two/{number}")
        *_, table = puts(s3)
        assert table.endswith(f"two/{number}/features/part-{number}-of-2.json")
    assert len({*puts(s3)}) == len(puts(s3))
    assert {"/parts/" + name for name in files_at("s3://parts")} >= {*puts(s3)}
    s3.reset()
    merged = catsdogs.merge(tmp_path / "merged", ["s3://parts/two/2", "s3://parts/two/1/"])
    assert tree(tmp_path / "merged") == whole
    assert not (tmp_path / "merged/.parts").exists()
    assert (merged.parts, merged.overlapping, merged.repeated_shards, merged.differing) == (2, 0, 0, 0)
    assert merged.unreadable["train"].keys() == {"dog.3"}
    assert s3.requests.count(("GET", "/parts", None)) == 2
    read = [path for _, path, _ in s3.requests if path != "/parts"]
    assert sorted(read) == sorted("/parts/" + name for name in files_at("s3://parts") if name.startswith("two/"))


def test_a_local_part_and_one_that_was_copied_from_object_storage_merge_too(s3, computed, compute, whole, tmp_path):
    for name, file in files_at(computed[0]).items():
        path = tmp_path / "copied" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.read())
    compute(tmp_path / "local", part="2/2")
    done = catsdogs.merge(tmp_path / "merged", [tmp_path / "copied", tmp_path / "local", *computed])
    assert tree(tmp_path / "merged") == whole
    assert (done.parts, done.overlapping) == (5, 13 + 20)
    assert done.repeated_shards == len([name for name in files_at(computed[0]) if name.endswith(".npy")])


def test_without_a_part_all_images_are_left_at_the_uri(s3, compute, whole, tmp_path):
    assert compute("s3://parts/all").part == "1/1"
    catsdogs.merge(tmp_path / "merged", ["s3://parts/all"])
    assert tree(tmp_path / "merged") == whole


def test_a_filesystem_that_is_no_object_storage_gets_whole_files_by_renaming(s3, compute, whole, tmp_path):
    compute("memory://rows/parts")
    assert all(name.endswith((".npy", ".json")) for name in files_at("memory://rows/parts"))
    catsdogs.merge(tmp_path / "merged", ["memory://rows/parts"])
    assert tree(tmp_path / "merged") == whole


@pytest.mark.parametrize("kind", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_part_that_is_killed_goes_on_elsewhere_and_computes_no_row_again(
    kind, s3, data, compute, whole, tiny_backbone, tmp_path, monkeypatch
):
    uri = f"s3://parts/killed-{kind}"
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))  # where a killed run leaves its copy until the next one
    with stopped("extract", data, "--artifacts", uri, "--weights", tiny_backbone) as run:
        compute(f"{uri}/beside", part="1/9")
        assert len(list((tmp_path / "tmp").glob("catsdogs-*/features"))) == 1
        end(run, kind)
    assert "no finished part in s3://parts/killed" in error_of(catsdogs.merge, tmp_path / "merged", [uri])
    kept = count_rows(next((tmp_path / "merged/.parts").glob("*/features")))
    rows = 10 if kind == signal.SIGKILL else 15
    assert kept in (rows, rows + 1)  # the row of the image that is none may be one of them
    s3.reset()
    assert compute(uri).computed in (38 - kept, 39 - kept)
    catsdogs.merge(tmp_path / "merged", [uri])
    assert tree(tmp_path / "merged") == whole
    s3.reset()
    assert compute(uri).computed == 0
    assert all(path.endswith(".json") for path in puts(s3))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_killed_run_of_another_user_keeps_its_copy(s3, compute, tmp_path):
    folder = tmp_path / "tmp/catsdogs-another"
    folder.mkdir()
    (folder / ".features.lock").touch()
    (folder / ".features.holder").symlink_to(tmp_path / "mine")
    os.chown(folder, 4321, 4321)
    compute("s3://parts/another", part="1/9")
    assert not (tmp_path / "mine").exists()
    shutil.rmtree(folder)


def test_a_damaged_copy_is_read_again_and_an_intact_one_is_not(s3, computed, whole, tmp_path):
    assert "the parts lack 14 of the 40 images" in error_of(catsdogs.merge, tmp_path / "merged", computed[:2])
    copies = (tmp_path / "merged/.parts").glob("*/features/shards/*/*.npy")
    *intact, damaged = sorted(copies, key=lambda path: path.stat().st_size)
    flip(damaged, 4000)
    s3.reset()
    catsdogs.merge(tmp_path / "merged", computed)
    assert tree(tmp_path / "merged") == whole
    read = {Path(path).name for _, path, _ in s3.requests}
    assert damaged.name in read
    assert intact
    assert not {copy.name for copy in intact} & read


def test_a_shard_that_is_damaged_at_the_uri_is_put_or_computed_again(s3, computed, compute, whole, tmp_path):
    folder = remote.RemoteFolder(f"{computed[0]}/features")
    name = next(name for name in files_at(computed[0]) if name.endswith(".224.npy"))
    intact = files_at(computed[0])[name].read()
    damaged = intact[:12000] + bytes([intact[12000] ^ 1]) + intact[12001:]  # in the second row
    folder.write(name.removeprefix("features/"), damaged)
    assert f"{computed[0]}/features/shards lacks rows of 1 images" in error_of(catsdogs.merge, tmp_path / "a", computed)
    folder.write(name.removeprefix("features/"), intact)
    catsdogs.merge(tmp_path / "a", computed)
    assert tree(tmp_path / "a") == whole
    folder.write(name.removeprefix("features/"), damaged)
    assert compute(computed[0], part="1/3").computed == 1
    catsdogs.merge(tmp_path / "b", computed)
    assert tree(tmp_path / "b") == whole


def test_copies_of_a_refused_merge_stay_until_a_merge_of_uris_and_a_wrong_uri_leaves_none(
    s3, computed, compute, tmp_path
):
    assert "the parts lack" in error_of(catsdogs.merge, tmp_path / "merged", computed[:2])
    compute(tmp_path / "local", part="1/1")
    catsdogs.merge(tmp_path / "merged", [tmp_path / "local"])
    assert len([*(tmp_path / "merged/.parts").glob("*/features/part-*")]) == 2
    assert "no finished part in s3://parts/typo" in error_of(catsdogs.merge, tmp_path / "new", ["s3://parts/typo"])
    assert not (tmp_path / "new").exists()


def test_the_disk_needs_space_for_the_rows_of_a_part_once(s3, compute, tmp_path):
    usage, needed = shutil.disk_usage(tmp_path), int(1.05 * 8192 * 13)
    for place in (tmp_path / "local", "s3://parts/space"):
        for free, fits in ((needed - 1, False), (needed, True)):
            with mock.patch.object(shutil, "disk_usage", return_value=usage._replace(free=free)):
                if fits:
                    compute(place, part="1/3")
                else:
                    assert f"need {needed:,} more bytes" in error_of(compute, place, part="1/3")


def test_a_full_disk_of_the_local_copy_is_named_as_such(s3, compute, tmp_path, monkeypatch):
    def full(path, *content, **options):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(shards, "write_atomic", full)
    assert f"{tmp_path}/tmp/catsdogs-" in (said := error_of(compute, "s3://parts/full"))
    assert "cannot be written (No space left on device)" in said


@pytest.mark.parametrize(
    "fault", ["503", "half", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("500", "reset"))]
)
def test_failures_that_pass_are_not_noticed(fault, s3, compute, whole, tmp_path):
    s3.fault = lambda path, number: fault if number == 1 else None
    compute(f"s3://parts/{fault}")
    catsdogs.merge(tmp_path / "merged", [f"s3://parts/{fault}"])
    assert tree(tmp_path / "merged") == whole


def test_what_cannot_be_written_or_read_ends_in_one_line_and_goes_on_later(s3, compute, whole, tmp_path):
    s3.fault = lambda path, number: "503" if path.endswith(".npy") else None
    assert "s3://parts/unreachable/features/shards/" in error_of(compute, "s3://parts/unreachable")
    s3.fault = lambda path, number: "503" if path.endswith("part-1-of-1.json") else None
    assert "features/part-1-of-1.json cannot be written (" in error_of(compute, "s3://parts/unreachable")
    body = "<Error><Code>AccessDenied</Code></Error>"
    s3.fault = lambda path, number: Response(body, 403) if path.endswith(".json") else None
    assert "provenance.json cannot be read: access is denied" in error_of(compute, "s3://parts/unreachable")
    assert "provenance.json cannot be written: access is denied" in error_of(compute, "s3://parts/denied")
    s3.fault = None
    assert "there is no such file" in error_of(compute, "s3://nobody/x")
    assert compute("s3://parts/unreachable").computed == 0
    s3.fault = lambda path, number: "half" if path.endswith(".npy") else None
    said = error_of(catsdogs.merge, tmp_path / "merged", ["s3://parts/unreachable"])
    assert ".npy cannot be read (" in said
    assert not (tmp_path / "merged/features").exists()
    s3.fault = None
    catsdogs.merge(tmp_path / "merged", ["s3://parts/unreachable"])
    assert tree(tmp_path / "merged") == whole


def test_what_does_not_belong_together_is_named_by_its_uri(s3, computed, compute, data, whole, tmp_path):
    merge = lambda *uris: error_of(catsdogs.merge, tmp_path / "merged", uris)  # noqa: E731
    assert "the parts lack 13 of the 40 images: 2/3" in merge(computed[0], computed[2])
    compute("s3://parts/foreign", part="2/3", weights=str(write_backbone(tmp_path / "other.keras", seed=1)))
    said = merge(*computed, "s3://parts/foreign")
    assert "s3://parts/foreign/features/part-2-of-3.json has rows computed by other.keras" in said
    assert f"but {computed[0]}/features/part-1-of-3.json by tiny.keras" in said
    changed = shutil.copytree(data, tmp_path / "changed")
    (changed / "train/cat.1.jpg").write_bytes((changed / "train/cat.2.jpg").read_bytes())
    compute("s3://parts/changed", changed, part="1/8")
    assert "cat.1 has other bytes in s3://parts/changed/features" in merge(*computed, "s3://parts/changed")
    for name, file in files_at(computed[1]).items():
        if name.endswith(".npy"):
            file.filesystem.rm(file.path)
    said = merge(*computed)
    assert f"{computed[1]}/features/shards lacks rows of 13 images of part 2/3" in said
    assert str(tmp_path) not in said
    compute(computed[1], part="2/3")
    catsdogs.merge(tmp_path / "merged", computed)
    assert tree(tmp_path / "merged") == whole


def test_names_in_object_storage_that_are_no_files_of_parts_are_not_copied(s3, compute, whole, tmp_path):
    compute("s3://parts/strange")
    folder = remote.RemoteFolder("s3://parts/strange/features")
    for name in ("shards/0123456789abcdef/../../../../evil", "manifest.json", "train/224.npy", ".x.new", "part-1-of-1"):
        folder.write(name, b"strange")
    catsdogs.merge(tmp_path / "merged", ["s3://parts/strange"])
    assert tree(tmp_path / "merged") == whole
    assert not list(tmp_path.rglob("evil"))


def test_secrets_of_uris_are_in_no_file_and_no_output(s3, compute, whole, tiny_backbone, data, tmp_path):
    compute("s3://parts/secret")
    files = {f"secret/{name}": file.read() for name, file in files_at("s3://parts/secret").items()}
    with web_server(files).running() as server:
        uri = f"{server.url.replace('//', f'//me:{SECRET}@')}/secret/"
        said = [command("merge", tmp_path / "web", uri)]
        assert tree(tmp_path / "web") == whole
        said.append(command("merge", tmp_path / "none", uri.replace("secret", "none")))
        del files[next(name for name in files if name.endswith(".npy"))]
        said.append(command("merge", tmp_path / "lacking", uri))
        said.append(command("extract", data, "--artifacts", uri, "--weights", tiny_backbone))
        said.append(command("extract", data, "--artifacts", uri, "--dry-run"))
        said.append(command("train", "--artifacts", uri))
        said.append(command("extract", data, "--artifacts", f"s3://me:{SECRET}@parts/x", "--weights", tiny_backbone))
    assert [done.returncode for done in said] == [0, 1, 1, 1, 0, 1, 1]
    assert all(done.stderr.count("\n") == (done.returncode != 0) for done in said), said
    assert not [done for done in said if SECRET in done.stdout + done.stderr]
    assert "--artifacts 'http://***@127.0.0.1" in said[4].stdout
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_the_program_says_where_the_part_is_and_refuses_what_does_not_fit(s3, data, tiny_backbone, tmp_path):
    done = command("extract", data, "--artifacts", "s3://parts/said", "--part", "1/2", "--weights", tiny_backbone)
    assert (done.returncode, done.stderr) == (0, "")
    assert "wrote       s3://parts/said/features\npart        1/2\n" in done.stdout
    assert "parts/said is a URI" in command("train", "--artifacts", "s3://parts/said").stderr
    with pytest.raises(OptionError, match="parquet excludes artifacts at a URI"):
        catsdogs.extract(data, artifacts="s3://parts/said", parquet=tmp_path / "rows")
    for option, said in {
        "--prune": "have no effect where no cache is written. Leave them out here",
        "--no-near-duplicates": "have no effect where no cache is written. Leave them out here",
        "--wait": "--wait has no effect at a URI, which has no lock. Leave it out",
    }.items():
        done = command("extract", data, "--artifacts", "s3://parts/said", "--weights", tiny_backbone, option)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert said in done.stderr
    done = command("merge", tmp_path / "merged", f"https://127.0.0.1:1/parts/?sig={SECRET}")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "Give a folder without a query" in done.stderr
    assert SECRET not in done.stderr
    assert not (tmp_path / "merged").exists()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray")
@pytest.mark.parametrize(("workers", "kills"), [(1, ""), (2, "2 3 6 7")])
def test_workers_of_ray_put_shards_without_a_shared_folder(workers, kills, s3, data, tiny_backbone, whole, tmp_path):
    uri = f"s3://parts/ray-{workers}"
    code = (
        "import signal\n"
        "from pathlib import Path\n"
        "from catsdogs.sources.remote import RemoteFolder\n"
        "log, put = Path(os.environ['WORKER_LOG']) / 'steps', RemoteFolder.write\n"
        "def put_and_die(folder, name, content):\n"
        "    for write in (lambda: None, lambda: put(folder, name, content)):\n"
        "        write()\n"
        "        with log.open('a') as file: file.write('x')\n"
        "        if str(log.stat().st_size) in os.environ['KILLS'].split(): os.kill(os.getpid(), signal.SIGKILL)\n"
        "RemoteFolder.write = put_and_die\n"
    )
    options = ("--workers", workers, "--json")
    driver = "from catsdogs.inference import cluster; cluster._MIN_RANGE = cluster._MAX_RANGE = 4"
    given = {"code": code, "driver": driver, "KILLS": kills}
    with extract_on_ray(data, uri, tiny_backbone, tmp_path, *options, **given) as run:
        out, err = run.communicate(timeout=300)
    assert (run.returncode, err) == (0, "")
    done = json.loads(out)
    assert (done["part"], done["computed"], done["uri"]) == ("1/1", 38, uri)
    catsdogs.merge(tmp_path / "merged", [uri])
    assert tree(tmp_path / "merged") == whole
    RemoteParts(uri).fetch(tmp_path / "copied")
    assert count_rows(tmp_path / "copied") in range(39, 39 + workers)  # each worker may compute a copy
