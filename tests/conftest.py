"""Fixtures of all tests: drawn pictures, folders and zips of them, backbones, caches; and how the tests run."""

import gc
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

if not os.environ.get("CI"):
    # Before NumPy is imported, here or in processes that tests start: the threads of its BLAS wait for each other
    # busily, which doubles the processor time.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # What was synced differs only after a power cut, which `support.faults` imitates; each call takes 3 ms.
    os.fsync = lambda descriptor: None

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image
from support.backbone import install, write_backbone
from support.report import make_artifacts

install()

_OWN_CACHE = None if os.environ.get("CATSDOGS_CACHE") else tempfile.mkdtemp(prefix="catsdogs-tests-")
if _OWN_CACHE:
    # Not the user's folder. The workers inherit it, so a network that one test has built is there for all others.
    os.environ["CATSDOGS_CACHE"] = _OWN_CACHE

# Few examples where somebody waits, more where nobody does; the same in each run, however busy the machine is.
steady = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("default", steady, max_examples=20)
settings.register_profile("ci", steady, max_examples=100)
settings.load_profile("ci" if os.environ.get("CI") else "default")

TOGETHER = {
    "tests/backbone/test_backbone.py": "Keras",
    "tests/backbone/test_engines.py": "Keras",
    "tests/backbone/test_gpu.py": "Keras",
    "tests/backbone/test_untrusted_weights.py": "Keras",
    "tests/commands/test_export.py": "Keras",
    "tests/commands/test_report.py": "reportable",
    "tests/commands/test_review.py": "reportable",
    "tests/reporting/test_galleries.py": "reportable",
    "tests/reporting/test_page.py": "reportable",
    "tests/reporting/test_plots.py": "reportable",
    "tests/reporting/test_queue.py": "reportable",
    "tests/reporting/test_thumbnails.py": "reportable",
    "tests/reporting/test_unusual.py": "reportable",
}
"""Files whose quick tests share what takes 4 to 6 s of processor time in each worker: Keras' import, or a fixture."""

LONG = (
    *TOGETHER,
    "tests/sources/test_remote.py",
    "tests/inference/test_processes.py",
    "tests/docs/test_examples.py",
    "tests/commands/test_merge_by_uri.py",
    "tests/test_stopped_runs.py",
    "tests/cache/test_duplicates.py",
    "tests/cache/test_faults.py",
    "tests/cache/test_kills.py",
    "tests/test_strangers.py",
    "tests/test_long_runs.py",
    "tests/commands/test_train.py",
    "tests/commands/test_run.py",
)
"""Files that begin first, so that at the end no worker waits long for another."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of `LONG` first, file by file."""
    ranks = {file: rank for rank, file in enumerate(LONG)}
    items.sort(key=lambda item: ranks.get(item.nodeid.partition("::")[0], len(ranks)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each file to one worker, and where the slow tests are left out, those of `TOGETHER` to the same one."""
    from xdist.scheduler import LoadFileScheduling

    class WithWhatIsShared(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return TOGETHER.get(file, file)

    quick = config.option.dist == "loadfile" and config.option.markexpr == "not slow"
    return WithWhatIsShared(config, log) if quick else None


def pytest_unconfigure() -> None:
    """Remove the folder of networks, where it is this session's own."""
    if _OWN_CACHE:
        shutil.rmtree(_OWN_CACHE, ignore_errors=True)


def pytest_collection_finish() -> None:
    """Keep what is imported by now out of every later collection of garbage: `run` asks for one each time."""
    gc.collect()
    gc.freeze()


def _draw(seed: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def _encode(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def _zipped(files: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)  # of 1980: the same files are the same bytes whenever they are zipped
            archive.writestr(member, content, compression)
    return file.getvalue()


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def draw() -> Callable[..., Image.Image]:
    """Draw a smooth RGB picture: ``draw(seed, size=(width, height))``."""
    return _draw


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """Return a picture as a file's content: ``encode(image, "JPEG", quality=90)``."""
    return _encode


@pytest.fixture(scope="session")
def zipped() -> Callable[..., bytes]:
    """Return files as a zip's content: ``zipped({"train/cat.0.jpg": b"..."}, zipfile.ZIP_DEFLATED)``."""
    return _zipped


@pytest.fixture(scope="session")
def write_folder() -> Callable[..., Path]:
    """Write files below a folder, and return the folder: ``write_folder(tmp_path, {"a/b.jpg": b"..."})``."""
    return _write_folder


@pytest.fixture(scope="session")
def pictures() -> dict[str, bytes]:
    """Twelve JPEGs by what they are called in Kaggle's download: six cats and dogs, and six test images."""
    names = [f"train/{kind}.{number}.jpg" for kind in ("cat", "dog") for number in (2, 10, 1)]
    names += [f"test/{number}.jpg" for number in (10, 9, 1, 2, 100, 3)]
    return {name: _encode(_draw(seed), "JPEG") for seed, name in enumerate(names)}


@pytest.fixture
def empty_model_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for networks that does not exist yet, for tests that must build theirs."""
    folder = tmp_path / "kept networks"
    monkeypatch.setenv("CATSDOGS_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the weights of a backbone of NumPy, for tests whose subject is not Keras."""
    return write_backbone(tmp_path_factory.mktemp("numpy") / "tiny.keras")


@pytest.fixture(scope="session")
def keras_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a small but real backbone: a ``.keras`` model that takes what ResNet50 takes and gives 2048 features."""
    from catsdogs.backbone.frameworks import keras

    layers, path = keras().layers, tmp_path_factory.mktemp("backbone") / "tiny.keras"
    keras().utils.set_random_seed(0)
    inputs = keras().Input((None, None, 3))
    coarse = layers.AveragePooling2D(16)(inputs)
    hidden = layers.Conv2D(32, 3, strides=2, activation="relu")(coarse)
    maps = layers.Conv2D(2048, 1, activation="relu")(hidden)
    keras().Model(inputs, layers.GlobalAveragePooling2D()(maps)).save(path)
    return path


@pytest.fixture(scope="session")
def reportable(
    tmp_path_factory: pytest.TempPathFactory,
    draw: Callable[..., Image.Image],
    encode: Callable[..., bytes],
    write_folder: Callable[..., Path],
    cache_of: Callable[..., Path],
) -> Path:
    """Write data/ and, of that, artifacts/ with a head, to be read only: see `support.report`."""
    return make_artifacts(tmp_path_factory.mktemp("reportable"), draw, encode, write_folder, cache_of)


@pytest.fixture(scope="session")
def cache_of() -> Callable[..., Path]:
    """Cache made-up features of real pictures, so that no backbone is needed: ``cache_of(data, artifacts)``.

    Its classes overlap a little. Features of images in `mistaken`, a set of ids, are those of the other class.
    """
    return _cache_of


def _cache_of(data: Path, artifacts: Path, mistaken: Collection[str] = ()) -> Path:
    from support.cache import add_row

    from catsdogs.artifacts import Artifacts
    from catsdogs.cache import CacheWriter, Manifest, Provenance, digest
    from catsdogs.images.decoding import UnreadableImageError, decode_with_facts
    from catsdogs.locks import FEATURES
    from catsdogs.sources import Source
    from catsdogs.storage import record

    provenance = Provenance(
        "made-up.keras", "0" * 64, "made-up", "unknown", "float32", "none", {"numpy": np.__version__}
    )
    with Source(data) as source:
        wanted = {split: (images.ids, images.labels) for split, images in source.splits.items()}
        with (
            Artifacts.open(artifacts, FEATURES) as opened,
            CacheWriter(opened.features, Manifest(provenance, ("224",), {}, source.classes), wanted) as cache,
        ):
            record(opened.source, **dict.fromkeys(wanted, str(data.resolve())))
            digests: list[Any] = []
            for images in source.splits.values():
                for name, label, file in zip(images.ids, images.labels, images.files, strict=True):
                    content = file.read()
                    seen = digest(content)
                    copy = any(np.array_equal(seen, other) for other in digests)
                    digests.append(seen)
                    if copy:
                        continue
                    random = np.random.default_rng(seen)
                    features = random.gamma(1, 1, 2048).astype(np.float32)
                    features[:60] += 0.8 * (random.random() > 0.5 if label < 0 else label)
                    if name in mistaken:
                        features[:60] += 1.6 * (1 - label) - 0.8
                    try:
                        _, facts = decode_with_facts(content, ())
                    except UnreadableImageError as error:
                        add_row(cache, seen, reason=str(error))
                    else:
                        add_row(cache, seen, {"224": features.clip(0)}, facts)
            cache.assemble(np.array(digests))
    return artifacts
