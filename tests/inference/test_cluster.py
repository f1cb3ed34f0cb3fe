"""Workers of a local Ray; each test starts one, which takes some seconds."""

import json
import logging
import re
import shutil
import signal
import time
from dataclasses import replace
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest
from support.cache import tree
from support.cluster import LOGGED, extract_on_ray, noted

import catsdogs
from catsdogs import CatsDogsError, OptionError
from catsdogs.artifacts import Artifacts
from catsdogs.backbone import Weights
from catsdogs.cache import CacheWriter, Manifest, load_duplicates
from catsdogs.inference import ranges
from catsdogs.inference.plan import ComputeOptions, resolve
from catsdogs.inference.ranges import RangeJob, RangeWorker
from catsdogs.locks import FEATURES, holder
from catsdogs.sources import Source

with_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray")
IMAGES = 260


@pytest.fixture(scope="module")
def data(tmp_path_factory, draw, encode, write_folder):
    """Of the images, one is no image, and one a copy of another."""
    files = {f"{('cat', 'dog')[n % 2]}.{n}.png": encode(draw(n, (64, 48))) for n in range(IMAGES)}
    files |= {"dog.7.png": b"this is no image", "cat.100.png": files["cat.4.png"]}
    return write_folder(tmp_path_factory.mktemp("data"), files)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data, tiny_backbone):
    """The cache that one machine computes."""
    folder = tmp_path_factory.mktemp("whole")
    catsdogs.extract(data, artifacts=folder, weights=str(tiny_backbone))
    return tree(folder)


SETTINGS = """
import atexit, json, logging, os, signal, sys
def note():
    found = sys.excepthook.__module__, signal.getsignal(signal.SIGTERM).__module__, logging.getLogger("ray").level
    with open(os.path.join(os.environ["WORKER_LOG"], "settings"), "w") as file:
        json.dump([*found, os.environ.get("PYTHONBREAKPOINT")], file)
atexit.register(note)
"""
"""Notes what Ray has left of the process's settings, at its end; its logger has the level of its import."""


def finish(run):
    out, err = run.communicate(timeout=300)
    return run.returncode, out, err


@with_ray
@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_of_ray_make_the_bytes_of_one_machine(workers, data, whole, tiny_backbone, tmp_path):
    options = ("--workers", workers, "--json")
    given = {"code": LOGGED, "driver": SETTINGS}
    with extract_on_ray(data, tmp_path / "a", tiny_backbone, tmp_path, *options, **given) as run:
        code, out, err = finish(run)
    assert (code, err) == (0, "")
    assert json.loads((tmp_path / "settings").read_text()) == ["typer.main", "catsdogs.cli.program", logging.INFO, None]
    done = json.loads(out)
    assert (done["computed"], done["images"]) == (IMAGES - 2, {"train": IMAGES})
    assert done["unreadable"]["train"].keys() == {"dog.7"}
    assert done["stages"] == catsdogs.info(tmp_path / "a").timings["extract"]["stages"] == {}
    assert tree(tmp_path / "a") == whole
    assert sum(noted(tmp_path, "rows")) in range(IMAGES - 1, IMAGES + workers)  # each worker may compute a copy
    assert not (tmp_path / "a/features/shards").exists()


@with_ray
@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_are_killed_are_replaced_and_no_row_is_computed_again(
    workers, data, whole, tiny_backbone, tmp_path
):
    kills = "1 2 3 7 8 13 16"
    options = ("--workers", workers, "--json")
    with extract_on_ray(data, tmp_path / "a", tiny_backbone, tmp_path, *options, code=LOGGED, KILLS=kills) as run:
        code, out, err = finish(run)
    assert (code, err) == (0, "")
    assert len(noted(tmp_path, "kills")) == 7
    assert tree(tmp_path / "a") == whole
    done = json.loads(out)
    assert (done["computed"], done["unreadable"]["train"].keys()) == (IMAGES - 2, {"dog.7"})
    assert sum(noted(tmp_path, "rows")) in range(IMAGES - 1, IMAGES + workers)


@with_ray
@pytest.mark.slow
def test_a_driver_that_is_killed_is_started_again_and_no_row_is_computed_again(data, whole, tiny_backbone, tmp_path):
    slow = LOGGED + "import time; shards.SHARD_SECONDS = 0.1\n"
    slow += "compute = support.backbone.NumpyBackbone.features\n"
    slow += "support.backbone.NumpyBackbone.features = lambda *given: (time.sleep(0.2), compute(*given))[1]"
    for kind in (signal.SIGKILL, signal.SIGINT):
        before = len(noted(tmp_path, "rows"))
        with extract_on_ray(data, tmp_path / "a", tiny_backbone, tmp_path, code=slow) as run:
            while run.poll() is None and len(noted(tmp_path, "rows")) < before + 3:
                time.sleep(0.01)
            run.send_signal(kind)
            code, _, err = finish(run)
        assert code == (130 if kind == signal.SIGINT else -kind)
    assert err.splitlines()[-1] == "interrupted: finished work is kept. Rerun the command to continue."
    with extract_on_ray(data, tmp_path / "a", tiny_backbone, tmp_path, "--json", code=LOGGED) as run:
        code, out, err = finish(run)
    assert (code, err) == (0, "")
    assert 0 < json.loads(out)["computed"] < IMAGES - 16
    assert tree(tmp_path / "a") == whole
    assert sum(noted(tmp_path, "rows")) in range(IMAGES - 1, IMAGES + 3)


FAULTS = {
    "no worker": (
        "from catsdogs.inference.ranges import RangeWorker; RangeWorker.prepare = lambda worker: os._exit(1)",
        "",
        r"error: no worker of Ray is alive: .*\. Finished work is kept: rerun",
    ),
    "no processor": (
        "",
        "from catsdogs.inference import cluster; cluster._share = lambda total, count: 99",
        r"error: no worker of Ray is alive: The actor is not schedulable: .*[^.]\. Finished work is kept",
    ),
    "busy": (
        "",
        "import time; from catsdogs.inference import cluster; cluster.START_SECONDS = 2\n"
        "start, busy = cluster.RangePool._start, os.environ['WORKER_LOG'] + '/busy'\n"
        "wait = lambda: (open(busy, 'x').close(), time.sleep(1000))\n"
        "def start_beside_others(pool, worker):\n"
        "    import ray; ray.remote(num_cpus=cluster.cpu_count())(wait).remote()\n"
        "    while not os.path.exists(busy): time.sleep(0.05)\n"
        "    start(pool, worker)\n"
        "cluster.RangePool._start = start_beside_others",
        r"error: no worker of Ray has started within 2 seconds\. Check with ray status",
    ),
    "codecs": (
        "from catsdogs.images import identity; identity.pixels = lambda: 'RGB, decoded as 0badc0de'",
        "",
        r"error: the worker on \S+ decodes images .*decoded as 0badc0de, but this machine .*\. Install the same",
    ),
    "features": (
        "number = os.open(os.environ['WORKER_LOG'] + '/n', os.O_CREAT | os.O_APPEND | os.O_WRONLY)\n"
        "os.write(number, b'n')\n"
        "compute, scale = support.backbone.NumpyBackbone.features, os.stat(number).st_size\n"
        "support.backbone.NumpyBackbone.features = lambda *given: scale * compute(*given)",
        "",
        r"error: the features of the worker on \S+ differ from those of the worker on \S+ by more than rounding",
    ),
    "full disk": (
        "import errno; from catsdogs.cache import shards\n"
        "def full(path, *content, **options): raise OSError(errno.ENOSPC, 'No space left on device', str(path))\n"
        "shards.write_atomic = full",
        "",
        r"error: .* cannot be written \(No space left on device, on \S+\)\. Check the disk",
    ),
    "engine": (
        "def fail(*given): raise RuntimeError('CUDA is gone')\nsupport.backbone.NumpyBackbone.features = fail",
        "",
        r"error: no worker of Ray is alive: RuntimeError: CUDA is gone\. Finished",
    ),
}


@with_ray
@pytest.mark.slow
def test_sigterm_ends_the_program_as_without_ray(data, tiny_backbone, tmp_path):
    slow = LOGGED + "import time\n"
    slow += "support.backbone.NumpyBackbone.features = lambda *given: (note('started', 1), time.sleep(60))"
    with extract_on_ray(data, tmp_path / "a", tiny_backbone, tmp_path, code=slow) as run:
        while run.poll() is None and not noted(tmp_path, "started"):
            time.sleep(0.01)
        run.send_signal(signal.SIGTERM)
        code, _, err = finish(run)
    assert (code, err) == (-signal.SIGTERM, "")


@with_ray
@pytest.mark.slow
def test_a_process_may_have_imported_ray_before(data, tiny_backbone, tmp_path):
    """Ray reads some variables when it is imported; without them it would also write a token into the home folder."""
    # Under `uv run`, an imported Ray would start workers by uv, which has its cache in the home folder.
    driver, home = "import os; os.environ['RAY_ENABLE_UV_RUN_RUNTIME_ENV'] = '0'; import ray", tmp_path / "home"
    with extract_on_ray(data, tmp_path / "a", tiny_backbone, tmp_path, "--json", driver=driver, HOME=str(home)) as run:
        code, out, err = finish(run)
    assert (code, err, json.loads(out)["computed"]) == (0, "", IMAGES - 2)
    assert not home.exists()


@with_ray
@pytest.mark.slow
@pytest.mark.parametrize(("code", "driver", "message"), FAULTS.values(), ids=FAULTS)
def test_a_fault_of_the_workers_is_one_line_and_no_hang(code, driver, message, data, tiny_backbone, tmp_path):
    options = ("--workers", 2)
    with extract_on_ray(data, tmp_path / "a", tiny_backbone, tmp_path, *options, code=code, driver=driver) as run:
        exit_code, out, err = finish(run)
    assert (exit_code, out, len(err.splitlines())) == (1, "", 1), err
    assert re.match(message, err), err
    assert not (tmp_path / "a/features/manifest.json").exists()


@with_ray
@pytest.mark.slow
def test_with_fail_fast_a_worker_names_the_image_and_its_machine(data, tiny_backbone, tmp_path):
    with extract_on_ray(data, tmp_path / "a", tiny_backbone, tmp_path, "--fail-fast") as run:
        code, _, err = finish(run)
    assert code == 1
    assert "dog.7.png is unreadable: " in err
    assert " (on " in err


@with_ray
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "auto", "nowhere.invalid:6379"])
def test_an_address_without_a_cluster_is_one_line(address, data, tiny_backbone, tmp_path, monkeypatch):
    from ray._private import services

    # "auto" would find a Ray that other tests have started.
    monkeypatch.setattr(services, "find_gcs_addresses", cache(set))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(CatsDogsError, match=f"there is no Ray cluster at {address} .*Check --ray"):
        catsdogs.extract(data, artifacts=tmp_path / "artifacts", weights=str(tiny_backbone), ray=address)
    assert not (tmp_path / "artifacts/features").exists()


def test_options_that_do_not_fit_are_refused(data, tmp_path):
    for options, message in (
        ({"ray": "local", "part": "1/2"}, "part and ray exclude each other. Give --part K/N or --ray ADDRESS"),
        ({"workers": 2}, "the number of workers is given without ray"),
        (
            {"ray": "local", "workers": 0},
            "the number of workers is 0. Give --ray ADDRESS, and --workers N of at least 1",
        ),
    ):
        with pytest.raises(OptionError, match=message):
            catsdogs.extract(data, artifacts=tmp_path / "artifacts", **options)
    assert not (tmp_path / "artifacts").exists()


@pytest.fixture
def opened(tmp_path):
    with Artifacts.open(tmp_path / "artifacts", FEATURES) as artifacts:
        yield artifacts


@pytest.fixture
def job(data, tiny_backbone, opened):
    plan = resolve(opened.features, None, weights=Weights(str(tiny_backbone)), compute=ComputeOptions())
    with Source(data) as source:
        return RangeJob(str(data), source.classes, source.listing, plan, holder(opened.root, FEATURES), False)


def compute_all(worker, size):
    """Have a worker compute all images in ranges of a size; return the results."""
    given, results = [range(at, min(at + size, IMAGES)) for at in range(0, IMAGES, size)], []
    while sum(len(result.positions) for result in results) < IMAGES:
        results += worker.exchange(given)
        given = []
    return results


def test_a_worker_streams_ranges_into_shards_and_computes_nothing_that_is_known(job, opened, data, whole, tmp_path):
    worker = RangeWorker(job, (0, 1))
    provenance = worker.prepare().provenance
    results = compute_all(worker, 40)
    assert sorted(result.positions.start for result in results) == [*range(0, IMAGES, 40)]
    assert sum(result.computed for result in results) == IMAGES - 2
    with Source(data) as source:
        wanted = {split: (images.ids, images.labels) for split, images in source.splits.items()}
    digests = np.zeros((IMAGES, 16), np.uint8)
    for result in results:
        digests[result.positions] = result.digests
    with CacheWriter(opened.features, Manifest(provenance, ("224",), {}), wanted) as writer:
        assert not writer.known_since().missing
        again = RangeWorker(job, (0, 1))
        again.prepare()
        (result,) = again.exchange([range(3, 30)], writer.known())
        assert result.computed == 0
        assert np.array_equal(result.digests, digests[3:30])
        assert not writer.known_since().missing
        writer.assemble(digests)
    load_duplicates(opened.cache)
    assert tree(opened.root) == whole


def test_decoding_goes_on_from_one_range_to_the_next(job, monkeypatch):
    """With small ranges, the network waits for pixels no more often than with one range."""
    starts = []
    compute = ranges.compute_rows
    monkeypatch.setattr(ranges, "compute_rows", lambda *files, **given: starts.append(1) or compute(*files, **given))
    worker = RangeWorker(job, (0, 1))
    worker.prepare()
    assert len(compute_all(worker, 16)) == -(-IMAGES // 16)
    assert len(starts) == 1


def test_a_machine_that_shares_neither_folder_nor_images_is_refused(job, data, tmp_path):
    with pytest.raises(CatsDogsError, match=r"artifacts is another folder there\. Give --artifacts"):
        RangeWorker(replace(job, holder="process 1 on another"), (0, 1)).prepare()
    other = shutil.copytree(data, tmp_path / "other")
    (other / "cat.0.png").unlink()
    with pytest.raises(CatsDogsError, match=r"other has other images there"):
        RangeWorker(replace(job, data=str(other)), (0, 1)).prepare()
