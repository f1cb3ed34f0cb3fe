"""List, read and write the files at a URI through fsspec: object storage, web servers, or what it has a package for."""

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import unquote

from ..errors import CatsDogsError, redact_uri
from ..storage import unique_name
from .files import RangeFile, StoredFile, check_size
from .names import folders_with_parents, is_archive, is_image

READERS = 32
"""Files that are read at the same time, as each takes the time of a round trip or more."""

_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between attempts; at random up to twice as long, so that many readers do not return at once."""

_TIMEOUT = 15
"""Seconds without a byte after which an attempt has failed."""

_MAX_DEPTH = 64
"""Folders in each other that are listed one by one."""

_WEB = ("http", "https")

_HOSTED = (*_WEB, "s3", "s3a", "gs", "gcs", "ftp", "sftp")
"""Kinds of URIs that are of nothing without a server or a bucket."""

_DENIED = ("AccessDenied", "AllAccessDisabled", "InvalidObjectState", "403", None)
"""S3's codes of an object that may not be read; others of status 403 are about the credentials, and so all objects."""

_FINAL = ("NoCredentialsError", "ParamValidationError", "InvalidURL")
"""Errors of botocore and aiohttp that another attempt does not mend."""

_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "adl", "az", "oci", "oss", "r2", "hf"}
"""Protocols of object storage: an object is there as a whole once it is put, so it needs no temporary name."""

_Content = TypeVar("_Content")


@dataclass(frozen=True)
class _RemoteFile(StoredFile):
    """A file of a filesystem of fsspec.

    Parameters
    ----------
    filesystem : fsspec.AbstractFileSystem
    path : str
        As the filesystem names it, so perhaps with secrets.
    known_length : int or None
        None if the listing does not tell.
    """

    filesystem: Any = field(repr=False)
    path: str = field(repr=False)
    known_length: int | None

    @property
    def is_remote(self) -> bool:
        return True

    def read(self) -> bytes:
        check_size(self.length())
        return _request(partial(self._fetch, 0, self.known_length), self.display_path)

    def read_range(self, start: int, stop: int) -> bytes:
        try:
            return _request(partial(self._fetch, start, stop), self.display_path)
        except OSError as error:  # an archive that was listed and cannot be read any more is no fault of one image
            raise _unusable(self.display_path, error) from None

    def _fetch(self, start: int, stop: int | None) -> bytes:
        if start == stop:  # of an empty file, no range can be requested
            return b""
        content: bytes = self.filesystem.cat_file(self.path, start=start or None, end=stop)
        if stop is not None and len(content) != stop - start:
            raise OSError(f"{len(content):,} of {stop - start:,} bytes were received")
        return content

    def open(self) -> BinaryIO:
        try:
            size = self.known_length
            if size is None:
                size = _request(lambda: self.filesystem.info(self.path)["size"], self.display_path)
            has_ranges = not _is_web(self.path) or _request(partial(self._has_ranges, size), self.display_path)
        except OSError as error:
            raise _unusable(self.display_path, error) from None
        if size is None or not has_ranges:
            message = f"{self.display_path} cannot be read in parts: its server does not support range requests"
            raise CatsDogsError(message, "End the URI of a folder in /; download a file, and give its path")
        return cast(BinaryIO, RangeFile(self.read_range, size, is_remote=True))

    def _has_ranges(self, size: int | None) -> bool:
        """Whether a web server sends parts of a file; if it does not, the file is not read as a whole."""
        if not size:
            return size == 0
        try:
            with self.filesystem.open(self.path, block_size=1, cache_type="none", size=size) as file:
                file.seek(-1, 2)
                return len(file.read(1)) == 1
        except ValueError:
            return False

    def length(self) -> int:
        return self.known_length or 0


def find_remote(uri: str) -> StoredFile | None:
    """Return the archive or the image at a URI; None if by its name it is a folder.

    Without a listing a web server does not tell files from folders, so a folder's URI must end in a slash.

    Raises
    ------
    CatsDogsError
        The package for this kind of URI is not installed.
    """
    filesystem, path = _open_filesystem(uri)
    name = path.partition("?")[0].rpartition("/")[2]
    if not name or not (is_archive(name) or is_image(name) or _is_web(path)):
        return None
    return _RemoteFile((unquote(name) if _is_web(path) else name,), redact_uri(uri), filesystem, path, None)


def list_remote(uri: str) -> tuple[list[StoredFile], set[tuple[str, ...]]]:
    """Return the files below a URI, and the paths of their folders in lower case; no file is looked at by itself.

    Raises
    ------
    CatsDogsError
        There is nothing, or it cannot be listed.
    """
    files = RemoteFolder(uri).list_files()
    if not files:
        message = f"{redact_uri(uri).rstrip('/')} does not exist, or is empty"
        raise CatsDogsError(message, "Give the URI of a folder or an archive of images")
    return files, folders_with_parents({file.parts[:-1] for file in files})


@dataclass(frozen=True)
class RemoteFolder:
    """A folder at a URI, connected once.

    Parameters
    ----------
    uri : str
    """

    uri: str = field(repr=False)

    def list_files(self, *, missing_ok: bool = False) -> list[StoredFile]:
        """Return the files below it.

        Raises
        ------
        CatsDogsError
            It cannot be listed, or it does not exist and not `missing_ok`.
        """
        filesystem, root = self._opened
        shown = redact_uri(self.uri).rstrip("/")
        if _is_web(root) and "?" in root:  # fsspec appends the names of files to the query
            message = f"{shown} is a folder with a query, and the URIs of its files are not known"
            raise CatsDogsError(message, "Give a folder without a query; images may also be in a zip or a tar")
        try:
            found = _list_files(filesystem, root, shown)
        except OSError as error:
            if missing_ok and isinstance(error, FileNotFoundError):
                return []
            raise _unusable(shown, error) from None
        files: list[StoredFile] = []
        for facts in found:
            name: str = facts["name"]
            below = name.removeprefix(root.rstrip("/")).strip("/")
            if below and not name.endswith("/"):  # S3's console makes an empty object for a folder
                parts = tuple((unquote(below) if _is_web(root) else below).split("/"))
                files.append(_RemoteFile(parts, f"{shown}/{'/'.join(parts)}", filesystem, name, facts.get("size")))
        return files

    def write(self, name: str, content: bytes) -> None:
        """Write a file: it is there as a whole, or not at all.

        Raises
        ------
        CatsDogsError
            It cannot be written.
        """
        shown = f"{redact_uri(self.uri).rstrip('/')}/{name}"
        try:
            _request(partial(self._put, name, content), shown, "written")
        except OSError as error:
            raise _unusable(shown, error, "written") from None

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        return _open_filesystem(self.uri)

    def _put(self, name: str, content: bytes) -> None:
        filesystem, root = self._opened
        protocol, path = filesystem.protocol, f"{root.rstrip('/')}/{name}"
        if _STORES & {*([protocol] if isinstance(protocol, str) else protocol)}:
            filesystem.pipe_file(path, content)
            return
        folder = path.rpartition("/")[0]
        temporary = f"{folder}/{unique_name()}"
        filesystem.makedirs(folder, exist_ok=True)
        filesystem.pipe_file(temporary, content)
        filesystem.mv(temporary, path)


def _is_web(path: str) -> bool:
    return path.startswith(("http://", "https://"))


def _is_below(link: str, folder: str) -> bool:
    """Whether a link of a web page is to what is in its folder: "/" and "?C=N" are to the page, "../" above it."""
    path = link.removeprefix(folder.rstrip("/") + "/").partition("?")[0]
    parts = unquote(path).removesuffix("/").split("/")
    return not {"", ".", ".."} & {*parts}


def _list_files(filesystem: Any, root: str, shown: str) -> Iterable[dict[str, Any]]:
    """Return what the listing tells of each file below a folder, by `_request`.

    fsspec's own walk ignores folders that cannot be listed, whatever it is told, so their images would be lost.
    """
    from fsspec.asyn import AsyncFileSystem

    if getattr(type(filesystem), "_find", AsyncFileSystem._find) is not AsyncFileSystem._find:
        # Object storage lists all folders at once, and its errors are raised.
        found: dict[str, dict[str, Any]] = _request(lambda: filesystem.find(root, detail=True), shown)
        return found.values()
    files, pending = [], [root]
    while pending:
        folder = pending.pop()
        if folder.count("/") > root.count("/") + _MAX_DEPTH:  # a server may list the same for every folder
            raise CatsDogsError(f"{shown} has more than {_MAX_DEPTH} folders in each other", "Give one of its folders")
        for entry in _request(partial(filesystem.ls, folder, detail=True), shown):
            if _is_web(root) and not _is_below(entry["name"], folder):
                continue
            if entry["type"] == "directory":
                pending.append(entry["name"])
            else:
                files.append(entry)
    return files


def _open_filesystem(uri: str) -> tuple[Any, str]:
    """Return the filesystem of a URI, and the path in it."""
    from fsspec.core import url_to_fs

    scheme, _, rest = uri.partition("://")
    protocol = scheme.lower()  # RFC 3986, 3.1
    uri = f"{protocol}://{rest}"
    if protocol in ("file", "local"):
        raise CatsDogsError(f"{uri} is a local file or folder", "Give its path")
    if protocol in _HOSTED and rest.strip()[:1] in "/?#":
        hint = "Give the whole URI, such as s3://bucket/photographs or https://host/pets.zip"
        raise CatsDogsError(f"{redact_uri(uri)} names no server or bucket", hint)
    try:
        # A new one each time, as credentials and listings change.
        options = {"skip_instance_cache": True, "use_listings_cache": False} | _options(protocol)
        filesystem, path = url_to_fs(uri, **options)
    except (ImportError, ValueError) as error:
        known = protocol in (*_WEB, "s3", "s3a")
        hint = "pip install 'catsdogs[remote]'" if known else "Install the package of fsspec for it, or give a path"
        raise CatsDogsError(f"{redact_uri(uri)} cannot be read: {error}", hint) from None
    except Exception as error:  # noqa: BLE001 - some filesystems connect here, and each raises its own
        raise _failed(redact_uri(uri), error) from None
    if protocol in ("s3", "s3a") and ":" in path.partition("/")[0] and not path.startswith("arn:"):
        hint = "Give credentials as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or in a profile, not in the URI"
        raise CatsDogsError(f"{redact_uri(uri)} has a colon in the name of its bucket", hint)
    if hasattr(filesystem, "retries"):
        filesystem.retries = 1  # requests are repeated here
    return filesystem, path


def _options(protocol: str) -> dict[str, dict[str, Any]]:
    """Return options of a filesystem, with those that the user has configured for fsspec."""
    from fsspec.config import conf

    options: dict[str, dict[str, Any]] = {}
    if protocol in ("s3", "s3a"):
        connections = {"max_pool_connections": READERS, "read_timeout": _TIMEOUT}
        options = {"config_kwargs": connections | {"retries": {"total_max_attempts": 1}}}
    elif protocol in _WEB:
        from aiohttp import ClientTimeout

        timeout = ClientTimeout(sock_connect=_TIMEOUT, sock_read=_TIMEOUT)
        options = {"client_kwargs": {"timeout": timeout}, "headers": {"Accept-Encoding": "identity"}}
    return {name: of | conf.get(protocol, {}).get(name, {}) for name, of in options.items()}


def _request(send: Callable[[], _Content], display_path: str, action: str = "read") -> _Content:
    """Return what `send` does, which is called again after errors that may pass.

    Raises
    ------
    FileNotFoundError, PermissionError
        This file is missing or may not be read.
    CatsDogsError
        The server cannot be reached, or does not accept the credentials.
    """
    for pause in (*_PAUSES, None):
        try:
            return send()
        except Exception as error:  # noqa: BLE001 - each filesystem raises its own
            # The errors of filesystems may have secrets in their texts, so they are not kept as causes.
            if denied := _denied(error):
                raise denied from None
            if pause is None or _is_final(error):
                raise _failed(display_path, error, action) from None
        time.sleep(pause * random.uniform(1, 2))  # noqa: S311 - no secret
    raise AssertionError


def _status(error: BaseException | None) -> tuple[int | None, str | None]:
    """Return the status of a response of HTTP and S3's code, as far as an error or its causes have them."""
    status, code, cause = None, None, error
    while cause:
        response = getattr(cause, "response", None)
        if isinstance(response, dict):  # of botocore
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            code = response.get("Error", {}).get("Code")
        elif isinstance(found := getattr(cause, "status", None), int):  # of aiohttp
            status = found
        cause = cause.__cause__
    return status, code


def _denied(error: BaseException) -> OSError | None:
    """Return the error of a file that is missing or may not be read; None if it is another."""
    status, code = _status(error)
    if status == 404 or (status is None and isinstance(error, FileNotFoundError) and not error.__cause__):
        return FileNotFoundError(0, "there is no such file")
    if code in _DENIED and (status in (401, 403) or (status is None and isinstance(error, PermissionError))):
        return PermissionError(0, "access is denied")
    return None


def _is_final(error: BaseException) -> bool:
    """Whether the same request would fail again."""
    status = _status(error)[0] or 0
    return type(error).__name__ in _FINAL or (300 <= status < 500 and status not in (408, 425, 429))


def _failed(display_path: str, error: BaseException, action: str = "read") -> CatsDogsError:
    text = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
    hint = "Check the connection and the credentials, and rerun: finished work is kept"
    return CatsDogsError(f"{display_path} cannot be {action} ({text})", hint)


def _unusable(display_path: str, error: OSError, action: str = "read") -> CatsDogsError:
    message = f"{display_path} cannot be {action}: {error.strerror or error}"
    return CatsDogsError(message, "Check the URI and the credentials")
