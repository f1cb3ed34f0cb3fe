"""Images decoded in processes: the same caches as with threads, and nothing left behind."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from support.backbone import NumpyBackbone
from support.program import end, start

import catsdogs
from catsdogs import CatsDogsError, ComputeOptions
from catsdogs.backbone import gpu
from catsdogs.images.views import View
from catsdogs.inference import plan, prefetching, processes
from catsdogs.inference.loading import ChunkLoader
from catsdogs.sources import Source, image_file, image_from_stream

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads decode")

IN_PROCESSES = "from catsdogs.inference import processes; processes.PROCESSES, processes.CHUNK_IMAGES = 2, 8\n"


@pytest.fixture(autouse=True)
def two_processes(monkeypatch):
    monkeypatch.setattr(processes, "PROCESSES", 2)
    monkeypatch.setattr(processes, "CHUNK_IMAGES", 8)


@pytest.fixture(scope="module")
def images(draw, encode):
    """Sixty files: also in other modes, copies, copies within a chunk, damaged ones, and one that is empty."""
    named = {f"{number}.png": encode(draw(number, (40 + number, 30))) for number in range(1, 51)}
    named |= {"51.png": encode(draw(9).convert("L")), "52.jpg": encode(draw(8), "JPEG"), "53.png": b""}
    named |= {"54.jpg": b"no image", "55.jpg": b"no image", "56.png": named["3.png"][:-60]}
    return named | {
        "57.png": named["1.png"],
        "58.png": named["50.png"],
        "59.png": named["1.png"],
    }


def tree(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def running(parent=None):
    """Return the processes that decode for `parent`, or for this process."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, state = (folder / "cmdline").read_bytes(), (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if b"catsdogs.inference.worker" in command and int(state[1]) == (parent or os.getpid()) and state[0] != "Z":
            found.append(int(folder.name))
    return found


def expect(condition, seconds=60):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def write(form, folder, images, zipped, write_folder):
    if form == "folder":
        return write_folder(folder, {f"test/{name}": content for name, content in images.items()})
    inner = zipped(images, zipfile.ZIP_DEFLATED)
    if form == "zip":
        folder.with_suffix(".zip").write_bytes(inner)
    else:  # as Kaggle's download
        folder.with_suffix(".zip").write_bytes(
            zipped({"test.zip": inner}, zipfile.ZIP_STORED if form == "zip in a zip" else zipfile.ZIP_DEFLATED)
        )
    return folder.with_suffix(".zip")


@pytest.mark.parametrize(
    ("form", "batch"),
    [
        ("folder", 5),
        ("zip in a zip", 8),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("zip", 5), ("zip in a compressed zip", 8))),
    ],
)
def test_the_cache_has_the_same_bytes_as_with_threads(
    form, batch, tmp_path, images, zipped, write_folder, tiny_backbone, monkeypatch
):
    monkeypatch.setattr(NumpyBackbone, "batch_size", batch)
    data = write(form, tmp_path / "data", images, zipped, write_folder)
    views = ComputeOptions(views=["160", "160m", "192"])
    in_processes = catsdogs.extract(data, artifacts=tmp_path / "p", weights=str(tiny_backbone), compute=views)
    monkeypatch.setattr(processes, "PROCESSES", 0)
    in_threads = catsdogs.extract(data, artifacts=tmp_path / "t", weights=str(tiny_backbone), compute=views)
    assert in_processes.unreadable == in_threads.unreadable
    assert len(in_threads.unreadable["test"]) == 4
    assert in_processes.computed == in_threads.computed == 52  # of 55 readable ones, three are copies
    assert tree(tmp_path / "p/features") == tree(tmp_path / "t/features")


def test_rows_that_are_known_are_not_computed_again(tmp_path, images, write_folder, tiny_backbone, monkeypatch):
    """With so little memory that images which wait for others must not hold it."""
    monkeypatch.setattr(processes, "MAX_SHARED_BYTES", 4 * 8 * 3 * (224**2 + 160**2))
    data = write_folder(tmp_path / "data", images)
    half = write_folder(tmp_path / "half", {name: images[name] for name in list(images)[::2]})
    catsdogs.extract(half, artifacts=tmp_path / "a", weights=str(tiny_backbone))
    done = catsdogs.extract(data, artifacts=tmp_path / "a", compute=ComputeOptions(views=["224", "160"]))
    again = catsdogs.extract(data, artifacts=tmp_path / "a")
    assert (done.computed, again.computed) == (52, 0)
    monkeypatch.setattr(processes, "PROCESSES", 0)
    options = ComputeOptions(views=["224", "160"])
    catsdogs.extract(data, artifacts=tmp_path / "t", weights=str(tiny_backbone), compute=options)
    assert tree(tmp_path / "a/features") == tree(tmp_path / "t/features")


@pytest.mark.parametrize("count", [8, 16])
def test_a_run_with_hardly_any_memory_ends(count, tmp_path, images, write_folder, tiny_backbone, monkeypatch):
    """Each chunk is computed where it lies, and there is memory for one or two."""
    monkeypatch.setattr(NumpyBackbone, "batch_size", 8)
    data = write_folder(tmp_path / "data", {name: images[name] for name in list(images)[:count]})
    assert catsdogs.extract(data, artifacts=tmp_path / "a", weights=str(tiny_backbone)).computed == count


def test_the_first_unreadable_image_is_named_with_fail_fast(tmp_path, images, write_folder, tiny_backbone):
    data = write_folder(tmp_path / "data", images)
    with pytest.raises(CatsDogsError, match=r"53\.png is unreadable: the file is empty"):
        catsdogs.extract(data, artifacts=tmp_path / "a", weights=str(tiny_backbone), fail_fast=True)
    assert not running()


def test_no_process_memory_or_file_is_left(tmp_path, images, write_folder, tiny_backbone):
    data = write_folder(tmp_path / "data", images)
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    catsdogs.extract(data, artifacts=tmp_path / "a", weights=str(tiny_backbone))
    with pytest.raises(KeyboardInterrupt):
        catsdogs.extract(data, artifacts=tmp_path / "b", weights=str(tiny_backbone), progress=_interrupt)
    assert not running()
    gc.collect()
    assert "catsdogs-pixels" not in Path("/proc/self/maps").read_text()
    assert len(list(Path("/proc/self/fd").iterdir())) == open_files


def _interrupt(step, done, total):
    if step == "computing features":
        raise KeyboardInterrupt


def test_a_process_that_is_killed_is_replaced(tmp_path, images, write_folder, tiny_backbone, monkeypatch):
    data = write_folder(tmp_path / "data", images)
    monkeypatch.setattr(processes, "MAX_SHARED_BYTES", 4 * 8 * 3 * 224**2)  # so that chunks are left
    killed = []

    def kill(step, done, total):
        if step == "computing features" and not killed:
            expect(lambda: len(running()) == 2)
            killed.extend(running())
            for number in killed:
                os.kill(number, signal.SIGKILL)

    done = catsdogs.extract(data, artifacts=tmp_path / "p", weights=str(tiny_backbone), progress=kill)
    assert (len(killed), done.computed) == (2, 52)
    monkeypatch.setattr(processes, "PROCESSES", 0)
    catsdogs.extract(data, artifacts=tmp_path / "t", weights=str(tiny_backbone))
    assert tree(tmp_path / "p/features") == tree(tmp_path / "t/features")


def test_processes_that_always_end_are_one_line(tmp_path, images, write_folder, tiny_backbone, monkeypatch):
    data = write_folder(tmp_path / "data", images)
    dying = "import os, sys\nif 'catsdogs.inference.worker' in sys.orig_argv: os.kill(os.getpid(), 9)\n"
    monkeypatch.syspath_prepend(write_folder(tmp_path / "path", {"sitecustomize.py": dying.encode()}))
    with pytest.raises(CatsDogsError, match=r"data/1\.png and 7 more images ended \(signal 9\)\. Free some memory"):
        catsdogs.extract(data, artifacts=tmp_path / "a", weights=str(tiny_backbone))


def test_an_error_of_the_disk_ends_the_run(tmp_path, images, write_folder, tiny_backbone):
    data = write_folder(tmp_path / "data", images)
    (data / "30.png").unlink()
    (data / "30.png").symlink_to("/proc/self/mem")  # reading its first bytes is an error of input and output
    with pytest.raises(CatsDogsError, match=r"30\.png cannot be read \(Input/output error\)"):
        catsdogs.extract(data, artifacts=tmp_path / "a", weights=str(tiny_backbone))
    assert not running()


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_the_one_that_started_them(kind, tmp_path, images, write_folder, tiny_backbone):
    data = write_folder(tmp_path / "data", {f"{copy}-{name}": images[name] for copy in range(9) for name in images})
    slow = "from support.backbone import NumpyBackbone\nimport time\ncompute = NumpyBackbone.features\n"
    slow += "NumpyBackbone.features = lambda *given: (time.sleep(0.5), compute(*given))[1]\n"
    arguments = ["extract", data, "--artifacts", tmp_path / "a", "--weights", tiny_backbone]
    with start(*arguments, before=slow + IN_PROCESSES) as run:
        expect(lambda: len(running(run.pid)) == 2 or run.poll() is not None)
        decoding = running(run.pid)
        code, said = end(run, kind)
    assert code == (130 if kind == signal.SIGINT else -kind)
    assert "Traceback" not in said
    expect(lambda: not any(Path(f"/proc/{number}").exists() for number in decoding))


def test_the_users_program_is_not_run_again(tmp_path, images, write_folder, tiny_backbone):
    """The README's example has no guard, and its folder may have modules named like ours."""
    data = write_folder(tmp_path / "data", images)
    program = f"import support.backbone; support.backbone.install()\n{IN_PROCESSES}\nimport catsdogs\nprint('once')\n"
    program += f"print(catsdogs.extract({str(data)!r}, weights={str(tiny_backbone)!r}).computed)\n"
    write_folder(tmp_path, {"program.py": program.encode(), "worker.py": b"1 / 0", "numpy.txt": b""})
    root = Path(catsdogs.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])}
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "once\n52\n", done.stderr


@pytest.mark.skipif(not shutil.which("unshare") or os.geteuid() != 0, reason="only root can replace /dev/shm")
@pytest.mark.parametrize("options", ["size=64k", pytest.param(None, marks=pytest.mark.slow)])
def test_shared_memory_needs_no_folder(options, tmp_path, images, write_folder, tiny_backbone):
    data = write_folder(tmp_path / "data", images)
    place = f"mount -t tmpfs -o {options} tmpfs /dev/shm" if options else "mount -t proc proc /dev/shm"
    program = f"{IN_PROCESSES}import support.backbone; support.backbone.install()\nimport sys, catsdogs\n"
    program += "print(catsdogs.extract(sys.argv[1], artifacts=sys.argv[2], weights=sys.argv[3]).computed)"
    root = Path(catsdogs.__file__).parents[1]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'{place} && exec "$0" -c "$@"', sys.executable, program]
        + [str(path) for path in (data, tmp_path / "a", tiny_backbone)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "52\n", done.stderr


def test_processes_are_chosen_where_they_can_help(tmp_path, images, write_folder, monkeypatch):
    with Source(write_folder(tmp_path / "data", images)) as source:
        files = source.files
    loader, chosen = ChunkLoader([View()], None), []

    def choose(files=files, loader=loader):
        if decoder := processes.start_processes(files, loader):
            decoder.close()
        chosen.append(decoder is not None)
        return chosen[-1]

    monkeypatch.setattr(processes, "PROCESSES", None)
    monkeypatch.setattr(processes, "MIN_FILES", 50)
    monkeypatch.setattr(processes, "cpu_count", lambda: 4)
    monkeypatch.setattr(processes, "available_memory", lambda: 10 << 30)
    assert not choose()
    monkeypatch.setattr(gpu, "DEVICES", write_folder(tmp_path / "dev", {"nvidia0": b""}))
    assert choose()
    assert not choose(files[:49])
    assert not choose(loader=ChunkLoader([], None))
    path = tmp_path / "data/1.png"
    assert choose([*files, image_file(path, ("1.png",))])
    with path.open("rb") as stream:
        assert not choose([*files, image_from_stream(stream, "a stream")])
    for name, value in (("cpu_count", 3), ("available_memory", 7 << 30)):
        with monkeypatch.context() as patch:
            patch.setattr(processes, name, lambda value=value: value)
            assert not choose()
    monkeypatch.setattr(sys, "executable", "/usr/bin/an-application")
    assert not choose()


def test_images_of_a_new_cache_are_decoded_while_the_backbone_loads(
    tmp_path, images, write_folder, tiny_backbone, monkeypatch
):
    data, received, decoded = write_folder(tmp_path / "data", images), processes.DecodingProcesses._loaded, []

    class Slow(NumpyBackbone):
        def __init__(self, *arguments, **options):
            expect(lambda: sum(decoded) == len(images))
            super().__init__(*arguments, **options)

    def counting(self, slot, answer):
        decoded.append(len(answer[0]))
        return received(self, slot, answer)

    monkeypatch.setattr(processes.DecodingProcesses, "_loaded", counting)
    monkeypatch.setattr(plan, "Backbone", Slow)
    assert catsdogs.extract(data, artifacts=tmp_path / "a", weights=str(tiny_backbone)).computed == 52


def test_images_are_decoded_ahead_while_nobody_takes_them(tmp_path, images, write_folder):
    with (
        Source(write_folder(tmp_path / "data", images)) as source,
        prefetching.load_images(source.files, ChunkLoader([View()])) as loaded,
    ):
        ahead = [*loaded._ahead]
        expect(lambda: all(future.done() for future in ahead))
        assert sum(len(future.result()) for future in ahead) == len(images)
