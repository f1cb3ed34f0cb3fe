"""Sources by URI, from a real S3 server and a web server on the loopback address, which count requests and fail."""

import io
import json
import re
import sys
import tarfile
import traceback
import zipfile
from importlib.util import find_spec
from threading import Event

import numpy as np
import pytest
from PIL import Image
from support.cluster import extract_on_ray
from support.program import command
from support.sources import contents

import catsdogs
from catsdogs import CatsDogsError
from catsdogs.inference.loading import ChunkLoader
from catsdogs.inference.prefetching import load_images
from catsdogs.sources import Source, remote

pytest.importorskip("moto", reason="the servers need moto[server]")
pytest.importorskip("s3fs", reason="S3 needs catsdogs[remote]")
pytest.importorskip("aiohttp", reason="web servers need catsdogs[remote]")

from support.servers import FAULTS, Response, s3_server, store, web_server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(moto|botocore|werkzeug)")

SECRET = "wJalrXUtnFEMI-K7MDENG"


@pytest.fixture(scope="module")
def photographs(draw, encode):
    """Images of about 20 kB each: 24 labelled, 6 of a test split."""
    random = np.random.default_rng(0)
    names = [f"train/{name}/{n}.jpg" for name in ("cat", "dog") for n in range(12)]
    names += [f"test/{n}.jpg" for n in range(6)]
    drawn = [
        np.asarray(draw(seed, (200, 160))) // 2 + random.integers(0, 40, (160, 200, 3), np.uint8) for seed in range(30)
    ]
    return {name: encode(Image.fromarray(of), "JPEG", quality=95) for name, of in zip(names, drawn, strict=True)}


@pytest.fixture(scope="module")
def total(photographs):
    return sum(map(len, photographs.values()))


@pytest.fixture(scope="module")
def running_s3(photographs):
    """A server with the photographs in the bucket `pets`."""
    files = {f"photographs/{name}": content for name, content in photographs.items()}
    with s3_server("pets", files, SECRET) as server:
        yield server


@pytest.fixture
def s3(running_s3):
    """The same without faults and counts."""
    running_s3.fault = None
    running_s3.reset()
    return running_s3


@pytest.fixture
def web():
    """Start a web server of files, a dictionary."""
    from contextlib import ExitStack

    with ExitStack() as running:
        yield lambda files, **options: running.enter_context(web_server(files, **options).running())


@pytest.fixture
def impatient(monkeypatch):
    """Wait milliseconds between attempts."""
    monkeypatch.setattr(remote, "_PAUSES", (0.01, 0.02, 0.04))


@pytest.fixture
def fault(request, monkeypatch):
    """A fault; one second is waited for a reply that comes after two."""
    if request.param == "slow":
        monkeypatch.setattr(remote, "_TIMEOUT", 1)
    return request.param


def tar_of(files):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def error_of(call):
    with pytest.raises(CatsDogsError) as caught:
        call()
    assert str(caught.value).count("\n") == 0
    return str(caught.value)


def test_a_folder_of_s3_takes_one_listing_and_one_request_an_image(s3, photographs, total, tmp_path, write_folder):
    write_folder(tmp_path, photographs)
    assert contents("s3://pets/photographs") == contents(tmp_path) == contents("s3://pets/photographs/")
    assert len(s3.requests) == 2 * (1 + len(photographs))
    assert {method for method, _, _ in s3.requests} == {"GET"}
    assert s3.sent <= 2 * 1.05 * total


def test_a_zip_of_s3_and_of_a_web_server_is_read_by_ranges(s3, web, photographs, total, tmp_path, zipped):
    (tmp_path / "pets.zip").write_bytes(content := zipped(photographs, zipfile.ZIP_DEFLATED))
    many = zipped(photographs | {f"notes/{n}.txt": bytes(9999) for n in range(200)})
    expected = contents(tmp_path / "pets.zip")
    store("zips", {"pets.zip": content, "many.zip": many})
    server = web({"pets.zip": content, "many.zip": many})
    for source, uri in ((s3, "s3://zips/"), (server, f"{server.url}/")):
        for name in ("pets.zip", "many.zip"):
            source.reset()
            assert contents(uri + name) == expected
            assert len(source.requests) <= len(photographs) + 8
            assert source.sent <= 1.05 * total + 130 * (len(photographs) + 200) + (1 << 16)


def test_zips_within_a_remote_zip_are_read_as_within_a_local_one(web, pictures, tmp_path, zipped):
    train = {name: content for name, content in pictures.items() if name.startswith("train/")}
    test = {name: content for name, content in pictures.items() if name.startswith("test/")}
    for inner, outer in ((zipfile.ZIP_STORED,) * 2, (zipfile.ZIP_DEFLATED,) * 2):
        content = zipped({"train.zip": zipped(train, inner), "test.zip": zipped(test, inner)}, outer)
        (tmp_path / "kaggle.zip").write_bytes(content)
        assert contents(f"{web({'kaggle.zip': content}).url}/kaggle.zip") == contents(tmp_path / "kaggle.zip")


def test_a_folder_of_a_web_server_or_of_memory_is_read_as_a_local_one(web, photographs, tmp_path, write_folder):
    from fsspec.implementations.memory import MemoryFileSystem

    write_folder(tmp_path, photographs)
    assert contents(f"{web({f'a b/{name}': of for name, of in photographs.items()}).url}/a b/") == contents(tmp_path)
    MemoryFileSystem().pipe({f"/pets/{name}": content for name, content in photographs.items()})
    assert contents("memory://pets") == contents(tmp_path)


def test_links_of_a_page_that_lead_out_of_its_folder_or_to_itself_are_not_followed(web):
    links = ["?C=N;O=D", "/", "./", "../", "../other/", "/other/", "..%2Fother/", "sub/../", "http://127.0.0.2:1/x/"]
    links += ["cat.1.png", "/a/dog.1.png", "sub/", "../other/cat.9.png", "./cat.1.png"]
    page = Response("".join(f'<a href="{link}">x</a>' for link in links), content_type="text/html")
    files = {f"{name}.png": b"x" for name in ("a/cat.1", "a/dog.1", "a/sub/cat.2", "other/cat.9")}
    server = web(files)
    server.fault = lambda path, number: page if path == "/a/" else None
    with Source(f"{server.url}/a/") as source:
        assert source.splits["train"].ids == ("cat.1", "cat.2", "dog.1")
    assert [path for _, path, _ in server.requests] == ["/a/", "/a/sub/"]


def test_folders_that_have_no_end_are_an_error(web):
    server = web({})
    server.fault = lambda path, number: Response('<a href="a/"><a href="b/">', content_type="text/html")
    assert "has more than 64 folders in each other" in error_of(lambda: Source(f"{server.url}/"))
    assert len(server.requests) < 70


def test_tar_shards_of_s3_are_listed_by_their_headers_and_each_image_is_read_once(s3, photographs, total):
    shards = {}
    for number, name in enumerate(photographs):
        if "train" in name:
            files = shards.setdefault(f"{number % 3:05}.tar", {})
            files[f"{number:09}.jpg"] = photographs[name]
            files[f"{number:09}.json"] = json.dumps({"label": name.split("/")[1], "url": "x" * 500}).encode()
    labelled = sum(len(of) for name, of in photographs.items() if "train" in name)
    store("shards", {name: tar_of(files) for name, files in shards.items()} | {"00000_stats.json": b"{}"})
    s3.reset()
    with Source("s3://shards") as source:
        assert source.scan.images == {"train": {"cat": 12, "dog": 12}}
        assert sum(len(file.read()) for file in source.files) == labelled
    # A block of 4 KiB for each header, and the last 64 KiB of each shard, of which images are a part.
    assert s3.sent <= labelled + 24 * 4096 + 3 * 66_000
    assert len(s3.requests) <= 1 + 2 * 24 + 3 * 2


def test_features_of_images_in_s3_are_those_of_local_ones(
    s3, photographs, total, tmp_path, write_folder, tiny_backbone
):
    write_folder(tmp_path / "data", photographs)
    options = ("--weights", tiny_backbone, "--artifacts")
    assert command("run", tmp_path / "data", *options, tmp_path / "local").returncode == 0
    s3.reset()
    done = command("run", "s3://pets/photographs", *options, tmp_path / "remote")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(s3.requests) == 1 + len(photographs)
    assert s3.sent <= 1.05 * total
    for path in (tmp_path / "local/features").rglob("*.npy"):
        assert (tmp_path / "remote" / path.relative_to(tmp_path / "local")).read_bytes() == path.read_bytes()
    noted = json.loads((tmp_path / "remote/source.json").read_bytes())
    assert noted["train"] == noted["test"] == "s3://pets/photographs"
    again = catsdogs.extract("s3://pets/photographs", artifacts=tmp_path / "remote", weights=str(tiny_backbone))
    assert again.computed == 0
    assert catsdogs.evaluate("s3://pets/photographs/train", artifacts=tmp_path / "remote").images == 24
    one, *others = catsdogs.predict(
        ["s3://pets/photographs/test/3.jpg", "s3://pets/photographs/test"], artifacts=tmp_path / "remote"
    )
    assert (others[3].image, others[3].label) == (one.image, one.label)
    assert others[3].probability == pytest.approx(one.probability, abs=1e-6)
    assert one.image == "s3://pets/photographs/test/3.jpg"
    assert "images" in command("extract", "s3://pets/photographs", "--dry-run").stdout
    assert catsdogs.report(tmp_path / "remote").missing == 0


@pytest.mark.parametrize("fault", [None, "500", pytest.param("reset", marks=pytest.mark.slow)], indirect=True)
def test_features_in_parquet_are_put_once_into_s3(s3, fault, impatient, tmp_path, tiny_backbone):
    pytest.importorskip("pyarrow", reason="needs the extra parquet")
    options = {"artifacts": tmp_path / "a", "weights": str(tiny_backbone)}
    catsdogs.extract("s3://pets/photographs", **options, parquet=tmp_path / "rows")
    (local,) = (tmp_path / "rows").iterdir()
    s3.reset()
    s3.fault = lambda path, number: fault if number == 1 and path.endswith(".parquet") else None
    uri = f"s3://pets/rows-{fault}"
    assert catsdogs.extract("s3://pets/photographs", **options, parquet=uri).computed == 30
    puts = [path for method, path, _ in s3.requests if method == "PUT"]
    assert {*puts} == {f"/pets/rows-{fault}/{local.name}"}
    assert len(puts) == 1 if fault is None else len(puts) > 1
    (stored,) = remote.list_remote(uri)[0]
    assert stored.read() == local.read_bytes()
    assert catsdogs.extract("s3://pets/photographs", **options, parquet=uri).computed == 0


def test_features_that_object_storage_does_not_take_end_the_run_in_one_line(s3, impatient, tmp_path, tiny_backbone):
    pytest.importorskip("pyarrow", reason="needs the extra parquet")
    options = {"artifacts": tmp_path / "a", "weights": str(tiny_backbone)}
    extract = lambda bucket: catsdogs.extract("s3://pets/photographs", **options, parquet=f"s3://{bucket}/rows")  # noqa: E731
    assert "cannot be written: there is no such file" in error_of(lambda: extract("nobody"))
    s3.fault = lambda path, number: "503" if path.endswith(".parquet") else None
    assert " cannot be written (" in error_of(lambda: extract("pets"))
    body = "<Error><Code>AccessDenied</Code></Error>"
    s3.fault = lambda path, number: Response(body, 403) if path.endswith(".parquet") else None
    assert "cannot be written: access is denied" in error_of(lambda: extract("pets"))
    s3.fault = None
    assert extract("pets").computed == 30


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray")
@pytest.mark.parametrize("rows", [None, "s3://pets/ray"])
def test_object_storage_that_fails_under_workers_of_ray_is_retried_or_ends_in_one_line(
    s3, rows, tiny_backbone, tmp_path
):
    if rows:
        pytest.importorskip("pyarrow", reason="needs the extra parquet")
    fast = "from catsdogs.sources import remote; remote._PAUSES = (0.01, 0.02, 0.04)"
    options = ("--workers", 2, "--json", *(("--parquet", rows) if rows else ()))

    def extract(folder, fault):
        s3.reset()
        s3.fault = fault
        with extract_on_ray(
            "s3://pets/photographs", folder, tiny_backbone, tmp_path, *options, code=fast, driver=fast
        ) as run:
            out, err = run.communicate(timeout=300)
        return run.returncode, out, err

    code, out, err = extract(tmp_path / "a", lambda path, number: "503" if path.endswith("cat/7.jpg") else None)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert re.match(
        r"error: s3://pets/photographs/train/cat/7.jpg cannot be read \(.* \(on .*finished work is kept", err
    )
    names = ("7.jpg", ".parquet")
    code, out, err = extract(
        tmp_path / "a", lambda path, number: "500" if number == 1 and path.endswith(names) else None
    )
    assert (code, err) == (0, "")
    done = json.loads(out)
    assert done["unreadable"] == {"train": {}, "test": {}}
    assert done["images"] == {"train": 24, "test": 6}
    code, out, err = extract(tmp_path / "a", None)
    assert (code, json.loads(out)["computed"]) == (0, 0)


def test_many_images_are_read_at_the_same_time(s3):
    twelve = Event()

    def answer_twelve_at_once(path, number):
        if s3.most_at_once >= 12:
            twelve.set()
        twelve.wait(10)  # less than what the client waits for

    with Source("s3://pets/photographs") as source:
        s3.fault = answer_twelve_at_once
        with load_images(source.files, ChunkLoader(())) as images:
            assert sum(map(len, images)) == 30
    assert twelve.is_set()


@pytest.mark.parametrize("fault", FAULTS, indirect=True)
def test_failures_that_pass_are_not_noticed(s3, web, photographs, impatient, fault, tmp_path, zipped, write_folder):
    write_folder(tmp_path, photographs)
    server = web({"pets.zip": zipped(photographs)})
    failing = ("/1.jpg", "/pets") if fault == "slow" else (".jpg", ".zip")  # each costs a second
    s3.fault = server.fault = lambda path, number: fault if number == 1 and path.endswith(failing) else None
    expected = contents(tmp_path)
    with Source("s3://pets/photographs") as source, load_images(source.files, ChunkLoader(())) as images:
        assert [loaded.reasons for loaded in images if loaded.reasons] == []
    assert len(s3.requests) > 1 + len(photographs)
    if fault != "slow":
        assert contents(f"{server.url}/pets.zip") == expected


@pytest.mark.parametrize("fault", [*FAULTS[:-1], pytest.param(FAULTS[-1], marks=pytest.mark.slow)], indirect=True)
def test_what_stays_unreachable_ends_the_run_and_nothing_is_unreadable(s3, impatient, fault, tmp_path, tiny_backbone):
    s3.fault = lambda path, number: fault if path.endswith("dog/7.jpg") else None
    options = {"artifacts": tmp_path / "a", "weights": str(tiny_backbone)}
    message = error_of(lambda: catsdogs.extract("s3://pets/photographs", **options))
    assert message.startswith("s3://pets/photographs/train/dog/7.jpg cannot be read (")
    assert message.endswith("Check the connection and the credentials, and rerun: finished work is kept.")
    attempts = len([path for _, path, _ in s3.requests if path.endswith("dog/7.jpg")])
    assert attempts == 4 * (1 + (fault == "reset"))  # aiohttp itself repeats a request on a connection that was kept
    s3.fault = None
    done = catsdogs.extract("s3://pets/photographs", **options)
    assert done.unreadable == {"train": {}, "test": {}}
    assert sum(done.images.values()) == 30


@pytest.mark.parametrize(("status", "reason"), [(404, "there is no such file"), (403, "access is denied")])
def test_one_object_that_is_missing_or_denied_is_unreadable(s3, status, reason, tmp_path, tiny_backbone):
    code = {404: "NoSuchKey", 403: "AccessDenied"}[status]
    body = f"<Error><Code>{code}</Code></Error>"
    s3.fault = lambda path, number: Response(body, status) if path.endswith("dog/7.jpg") else None
    done = catsdogs.extract("s3://pets/photographs", artifacts=tmp_path / "a", weights=str(tiny_backbone))
    assert done.unreadable == {"train": {"dog.7": f"the file cannot be read: {reason}"}, "test": {}}


def test_credentials_that_expire_end_the_run_at_once(s3, tmp_path, tiny_backbone):
    body = "<Error><Code>ExpiredToken</Code><Message>The token has expired</Message></Error>"
    s3.fault = lambda path, number: Response(body, 400) if path.endswith("dog/7.jpg") else None
    call = lambda: catsdogs.extract("s3://pets/photographs", artifacts=tmp_path / "a", weights=str(tiny_backbone))  # noqa: E731
    assert "train/dog/7.jpg cannot be read (An error occurred (ExpiredToken)" in error_of(call)
    assert len([path for _, path, _ in s3.requests if path.endswith("dog/7.jpg")]) == 1


def test_an_archive_that_may_not_be_read_any_more_ends_the_run(web, photographs, impatient, zipped):
    server = web({"pets.zip": zipped(photographs)})
    with Source(f"{server.url}/pets.zip?X-Amz-Signature={SECRET}") as source:
        server.fault = lambda path, number: Response(status=403)
        message = error_of(source.files[0].read)
    assert message.startswith(f"{server.url}/pets.zip?*** cannot be read: access is denied")


def test_a_server_without_ranges_is_refused_and_not_read_as_a_whole(web, photographs, zipped):
    server = web({"pets.zip": zipped(photographs)}, ranges=False)
    assert "pets.zip cannot be read in parts" in error_of(lambda: Source(f"{server.url}/pets.zip"))
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("uri", "finding"),
    [
        ("s3://pets/nowhere", "s3://pets/nowhere does not exist, or is empty"),
        ("s3://nobody/photographs", "s3://nobody/photographs cannot be read: there is no such file"),
        ("s3://pets/none.zip", "s3://pets/none.zip cannot be read: there is no such file"),
        ("s3://pets/photographs/test/1.jpg", "s3://pets/photographs/test/1.jpg is a single image"),
        ("s3://AKIA:pass/word@pets/x", "s3://***@pets/x has a colon in the name of its bucket. Give credentials as"),
        ("S3://pets/nowhere", "S3://pets/nowhere does not exist, or is empty"),
        (
            "s3://",
            "s3:// names no server or bucket. Give the whole URI, such as s3://bucket/photographs or https://host/pets.zip",
        ),
        ("s3:///photographs", "s3:///photographs names no server or bucket"),
        ("https://", "https:// names no server or bucket"),
        (f"HTTPS://?sig={SECRET}", "https://?*** names no server or bucket"),
        ("ftp:// ", "ftp://  names no server or bucket"),
        (f"https://127.0.0.1:1/a/?sig={SECRET}", "https://127.0.0.1:1/a/?*** is a folder with a query, and the URIs"),
        ("file:///tmp", "file:///tmp is a local file or folder"),
        ("nothing://here", "nothing://here cannot be read: Protocol not known: nothing"),
        (f"http://me:{SECRET}@127.0.0.1:1/x.zip", "http://***@127.0.0.1:1/x.zip cannot be read (Cannot connect"),
        ("ftp://me:password@127.0.0.1:1/x", "ftp://***@127.0.0.1:1/x cannot be read ([Errno 111] Connection refused)"),
        ("tar://::http://me:password@127.0.0.1:1/x.tar?s=1", "tar://::http://***@127.0.0.1:1/x.tar?*** cannot be read"),
    ],
)
def test_a_uri_that_is_no_source_is_an_error_of_one_line(s3, impatient, uri, finding):
    assert error_of(lambda: Source(uri)).startswith(finding)


@pytest.mark.parametrize(("package", "uri"), [("s3fs", "s3://pets/x"), ("aiohttp", "https://127.0.0.1/x.zip")])
def test_a_missing_package_is_one_line_with_the_extra(monkeypatch, package, uri):
    from fsspec.registry import _registry

    for protocol in ("s3", "https"):
        monkeypatch.delitem(_registry, protocol, raising=False)
    for module in ("s3fs", "fsspec.implementations.http"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    assert error_of(lambda: Source(uri)).endswith("pip install 'catsdogs[remote]'.")


def printed_by(*arguments):
    """Return what a command prints, and the traceback with all causes that it prints with CATSDOGS_DEBUG=1."""
    done, causes = command(*arguments), ""
    assert done.stderr.count("\n") <= 1 or "--verbose" in arguments
    if done.returncode:
        try:
            command(*arguments, CATSDOGS_DEBUG="1")
        except CatsDogsError:
            causes = traceback.format_exc()
    return done.stdout + done.stderr + causes


def test_secrets_in_uris_and_variables_are_in_no_file_and_no_output(
    s3, web, photographs, impatient, tmp_path, zipped, tiny_backbone, caplog
):
    server = web({"pets.zip": zipped(photographs), "bad.zip": b"no zip"})
    uri = f"{server.url.replace('//', f'//me:{SECRET}@')}/pets.zip?X-Amz-Signature={SECRET}&sig={SECRET}"
    where = ("--artifacts", tmp_path / "a")
    printed = [
        printed_by("run", uri, *where, "--weights", tiny_backbone, "--verbose"),
        printed_by("extract", uri, *where, "--dry-run"),
        printed_by("predict", uri, *where, "--json"),
        printed_by("predict", uri.replace("pets.zip", "bad.zip"), *where),
        printed_by("evaluate", uri, *where),
        printed_by("report", *where),
        printed_by("info", *where),
        printed_by("extract", uri.replace("pets.zip", "none.zip"), *where),
        printed_by("extract", uri.replace(f":{server.port}", ":1"), *where, "--verbose"),
        printed_by("run", "s3://nobody/x", *where, "--verbose"),
        caplog.text,
    ]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert "/pets.zip?***" in printed[1]
    assert "/pets.zip?***/test/3.jpg" in printed[2]
    assert any(b"/pets.zip?***" in content for content in files)
    assert not [text for text in printed if SECRET in text]
    assert not [content for content in files if SECRET.encode() in content]
