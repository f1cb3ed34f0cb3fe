"""Keras' ImageNet weights are downloaded from working servers; failing servers give an error."""

import contextlib
import hashlib
import os
import resource
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.program import process

from catsdogs.backbone import fetch_imagenet, imagenet
from catsdogs.backbone.imagenet import IMAGENET_FILE, IMAGENET_MD5, IMAGENET_URL, MAX_BYTES, imagenet_path
from catsdogs.errors import CatsDogsError

CONTENT = os.urandom(300_000)


@pytest.mark.slow
class TestWhatKerasPublishes:
    """These tests import Keras, and fail if a new release changes the constants."""

    def test_file_address_and_md5_are_those_of_the_installed_keras(self) -> None:
        from catsdogs.backbone.frameworks import keras

        keras()
        from keras.src.applications import resnet

        assert resnet.BASE_WEIGHTS_PATH == IMAGENET_URL
        assert resnet.WEIGHTS_HASHES["resnet50"][1] == IMAGENET_MD5
        assert IMAGENET_FILE == "resnet50" + "_weights_tf_dim_ordering_tf_kernels_notop.h5"

    def test_the_download_path_is_that_of_keras(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        from catsdogs.backbone.frameworks import keras

        keras()
        from keras.src.backend.config import keras_home

        assert imagenet_path() == Path(keras_home()).expanduser() / "models" / IMAGENET_FILE
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        assert imagenet_path() == tmp_path / "models" / IMAGENET_FILE
        monkeypatch.delenv("KERAS_HOME")
        monkeypatch.setenv("HOME", str(tmp_path / "none"))
        assert imagenet_path() == Path("/tmp/.keras/models") / IMAGENET_FILE


class _Server(ThreadingHTTPServer):
    """A server whose behaviour is the first part of the path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.over = threading.Event()
        self.asked: list[str] = []

    def base(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{behaviour}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing: the tests disconnect clients."""


class _Answer(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        behaviour, name = self.path.strip("/").split("/")
        assert name == IMAGENET_FILE
        self.server.asked.append(behaviour)
        getattr(self, behaviour)()

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def _head(self, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def _trickle(self, first: bytes, then: bytes) -> None:
        self.wfile.write(first)
        while not self.server.over.wait(0.02):
            self.wfile.write(then)

    def good(self) -> None:
        self._head(Content_Length=len(CONTENT))
        self.wfile.write(CONTENT)

    def lengthless(self) -> None:
        self._head()
        self.wfile.write(CONTENT)

    def nonsense_length(self) -> None:
        self._head(Content_Length="much")
        self.wfile.write(CONTENT)

    def redirect(self) -> None:
        self._head(302, Location=f"/good/{IMAGENET_FILE}")

    def loop(self) -> None:
        self._head(302, Location=self.path)

    def to_a_file(self) -> None:
        self._head(302, Location="file:///etc/hostname")

    def missing(self) -> None:
        self.send_error(404)

    def broken(self) -> None:
        self.send_error(500)

    def half(self) -> None:
        self._head(Content_Length=len(CONTENT))
        self.wfile.write(CONTENT[:150_000])

    def short_length(self) -> None:
        self._head(Content_Length=1000)
        self.wfile.write(CONTENT)

    def other(self) -> None:
        self._head(Content_Length=len(CONTENT))
        self.wfile.write(CONTENT[::-1])

    def huge(self) -> None:
        self._head(Content_Length=MAX_BYTES + 1)
        self._trickle(CONTENT, CONTENT)

    def silent(self) -> None:
        self.server.over.wait(60)

    def stalling(self) -> None:
        self._head(Content_Length=len(CONTENT))
        self.wfile.write(CONTENT[:150_000])
        self.server.over.wait(60)

    def no_http(self) -> None:
        self.wfile.write(b"220 mail.example.org ESMTP\r\n")


@pytest.fixture(scope="module")
def server() -> Iterator[_Server]:
    with _Server() as serving:
        threading.Thread(target=serving.serve_forever, args=(0.05,), daemon=True).start()
        yield serving
        serving.over.set()
        serving.shutdown()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: _Server) -> Path:
    """Path of the file in an empty Keras cache; the MD5 is that of the test's content."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(imagenet, "IMAGENET_MD5", hashlib.md5(CONTENT).hexdigest())
    server.asked.clear()
    return imagenet_path()


def there(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.parent.glob("*")}


class TestDownloading:
    @pytest.mark.parametrize("behaviour", ["good", "lengthless", "redirect"])
    def test_the_file_is_saved_in_keras_cache_without_other_files(
        self, behaviour: str, path: Path, server: _Server
    ) -> None:
        assert fetch_imagenet(server.base(behaviour)) == path
        assert there(path) == {IMAGENET_FILE: CONTENT}

    def test_the_downloaded_file_is_readable_by_other_users(self, path: Path, server: _Server) -> None:
        mask = os.umask(0o022)
        try:
            fetch_imagenet(server.base("good"))
        finally:
            os.umask(mask)
        assert path.stat().st_mode & 0o777 == 0o644

    def test_progress_goes_from_zero_to_all_bytes(self, path: Path, server: _Server) -> None:
        told: list[tuple[str, int, int]] = []
        fetch_imagenet(server.base("good"), progress=lambda *heard: told.append(heard))
        assert {step for step, _, _ in told} == {"downloading ImageNet weights"}
        assert told[0][1:] == (0, 0)
        assert told[-1][1:] == (len(CONTENT), len(CONTENT))
        assert sorted(told) == told

    def test_an_existing_file_is_used_without_a_connection(self, path: Path, server: _Server) -> None:
        path.parent.mkdir(parents=True)
        path.write_bytes(CONTENT)
        assert fetch_imagenet(server.base("good")) == path
        assert server.asked == []

    def test_a_damaged_file_is_replaced(self, path: Path, server: _Server) -> None:
        path.parent.mkdir(parents=True)
        path.write_bytes(CONTENT[:-1])
        fetch_imagenet(server.base("good"))
        assert there(path) == {IMAGENET_FILE: CONTENT}

    def test_a_damaged_file_that_cannot_be_replaced_is_named_and_kept(self, path: Path, server: _Server) -> None:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"damaged")
        with pytest.raises(CatsDogsError, match="is not the file that Keras publishes") as refusal:
            fetch_imagenet(server.base("missing"))
        assert str(path) in refusal.value.message
        assert there(path) == {IMAGENET_FILE: b"damaged"}

    @pytest.mark.parametrize(
        ("behaviour", "reason"),
        [
            ("missing", r"\(404 Client Error: Not Found\)"),
            ("broken", "500 Server Error"),
            ("loop", r"\(Exceeded 30 redirects\)"),
            ("to_a_file", "No connection adapters were found for 'file:"),
            ("half", "150000 bytes read, 150000 more expected"),
            ("short_length", "MD5 hash of .* does not match"),
            ("other", "MD5 hash of .* does not match"),
            ("huge", "the file is larger than"),
            ("silent", r"\(timed out\)"),
            ("stalling", r"\(timed out\)"),
            ("nonsense_length", "invalid literal for int"),
            ("no_http", "BadStatusLine"),
        ],
    )
    def test_a_server_that_fails_is_asked_once_and_leaves_nothing(
        self, behaviour: str, reason: str, path: Path, server: _Server
    ) -> None:
        with pytest.raises(CatsDogsError, match=reason) as refusal:
            fetch_imagenet(server.base(behaviour), timeout=0.3 if "timed out" in reason else 20)
        assert len(server.asked) == (31 if behaviour == "loop" else 1)
        assert "\n" not in refusal.value.message
        assert server.base(behaviour) + IMAGENET_FILE in refusal.value.message
        assert (
            f"Put the file at {path}, or use --weights FILE; for testing and timing, use --weights random"
            in refusal.value.hint
        )
        assert there(path) == {}

    @pytest.mark.parametrize("address", ["http://127.0.0.1:{closed}/", "http://nowhere.invalid/", "nonsense"])
    def test_an_unreachable_address_gives_one_line(self, address: str, path: Path) -> None:
        with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listening:
            closed = listening.getsockname()[1]
        with pytest.raises(CatsDogsError, match="could not be downloaded from") as refusal:
            fetch_imagenet(address.format(closed=closed), timeout=2)
        assert "\n" not in str(refusal.value)
        assert there(path) == {}

    def test_a_read_only_home_is_refused_before_connecting(self, tmp_path: Path, path: Path, server: _Server) -> None:
        (tmp_path / "keras").touch()
        with pytest.raises(CatsDogsError, match=r"Not a directory|File exists"):
            fetch_imagenet(server.base("good"))
        assert server.asked == []

    def test_a_download_prints_nothing(self, path: Path, server: _Server, capfd: pytest.CaptureFixture[str]) -> None:
        fetch_imagenet(server.base("good"))
        path.write_bytes(b"damaged")
        with pytest.raises(CatsDogsError):
            fetch_imagenet(server.base("missing"))
        assert capfd.readouterr() == ("", "")

    def test_a_full_disk_gives_one_line_and_leaves_no_file(self, path: Path, server: _Server) -> None:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(CONTENT) // 2, limits[1]))
        try:
            with pytest.raises(CatsDogsError, match=r"could not be downloaded from .* \(File too large\)\.") as refusal:
                fetch_imagenet(server.base("good"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "\n" not in str(refusal.value)
        assert there(path) == {}

    def test_ctrl_c_leaves_no_file(self, path: Path, server: _Server) -> None:
        def interrupt(step: str, done: int, total: int) -> None:
            if done:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fetch_imagenet(server.base("good"), progress=interrupt)
        assert there(path) == {}

    def test_concurrent_downloads_do_not_interfere(self, path: Path, server: _Server) -> None:
        bases = [server.base(behaviour) for behaviour in ("good", "half", "lengthless", "other")]

        def attempt(base: str) -> bool:
            try:
                return fetch_imagenet(base) == path
            except CatsDogsError:
                return False

        with ThreadPoolExecutor(len(bases)) as threads:
            ended = list(threads.map(attempt, bases))
        assert ended[0]
        assert ended[2]
        assert there(path) == {IMAGENET_FILE: CONTENT}


def test_pooch_is_imported_by_downloads_only() -> None:
    imports = "import sys, catsdogs.backbone, catsdogs.cli, catsdogs.commands.train"
    program = f"{imports}; print({{'pooch', 'requests'}} & {{*sys.modules}})"
    assert process(program=("-c", program)).stdout == "set()\n"
