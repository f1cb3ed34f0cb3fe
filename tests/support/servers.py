"""A web server and a real S3 server (moto's) on the loopback address, which count what they send, and fail if told."""

import functools
import os
import re
import socket
import time
from contextlib import contextmanager
from threading import Lock, Thread
from unittest import mock

import botocore.session
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

FAULTS = ("500", "503", "half", "reset", "slow")


class _Quiet(WSGIRequestHandler):
    def log(self, *arguments):
        """Print nothing."""


class Server:
    """What surrounds an application: `requests`, the bytes `sent`, the most requests at once, and faults.

    `fault(path, number)` returns what happens to a request, the `number`-th of that path and range: one of `FAULTS`, a
    response, or None.
    """

    def __init__(self, application):
        self._application, self._lock, self._active = application, Lock(), 0
        self.fault = None
        self.reset()

    def reset(self):
        self.requests, self.sent, self.most_at_once, self._times = [], 0, 0, {}

    def __call__(self, environ, start_response):
        request = Request(environ)
        key = request.method, request.path, request.headers.get("Range")
        with self._lock:
            self._active += 1
            self.most_at_once = max(self.most_at_once, self._active)
            self.requests.append(key)
            number = self._times[key] = self._times.get(key, 0) + 1
        try:
            return self._answer(request, self.fault and self.fault(request.path, number))(environ, start_response)
        finally:
            with self._lock:
                self._active -= 1

    def _answer(self, request, fault):
        if isinstance(fault, Response):
            return fault
        if fault in ("500", "503"):
            return Response(f"<Error><Code>{fault}</Code></Error>", int(fault), content_type="application/xml")
        if fault == "slow":
            time.sleep(2)
        if fault == "reset":
            request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError
        response = Response.from_app(self._application, request.environ, buffered=True)
        content = b"" if request.method == "HEAD" else response.get_data()
        with self._lock:
            self.sent += len(content)
        if fault == "half" and content:
            response.headers["Content-Length"] = str(len(content))
            response.response = [content[: len(content) // 2]]
        return response

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self):
        server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=_Quiet)
        self.port, server.daemon_threads = server.server_port, True
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def store(bucket, files):
    """Put files, a dictionary by name, into a new bucket."""
    import boto3

    client = boto3.client("s3")
    client.create_bucket(Bucket=bucket)
    for name, content in files.items():
        client.put_object(Bucket=bucket, Key=name, Body=content)
    client.close()


@contextmanager
def s3_server(bucket, files, secret):
    """Run a server that has files in a bucket; the environment has the credentials for it."""
    names = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7", "AWS_SECRET_ACCESS_KEY": secret, "AWS_DEFAULT_REGION": "us-east-1"}
    once = functools.cache(botocore.session.create_loader)  # each client reads 3 MB of JSON: 0.2 s
    with (
        Server(DomainDispatcherApplication(create_backend_app)).running() as server,
        mock.patch.dict(os.environ, names),
        mock.patch.object(botocore.session, "create_loader", once),
    ):
        os.environ["AWS_ENDPOINT_URL"] = server.url
        store(bucket, files)
        yield server


def web_server(files, *, ranges=True):
    """Return a server of `files`, a dictionary by path, that lists folders."""

    @Request.application
    def application(request):
        name = request.path.lstrip("/")
        if name in files:
            found = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", "")) if ranges else None
            if not found:
                return Response(files[name], content_type="application/octet-stream")
            start, stop = int(found[1]), int(found[2] or len(files[name]) - 1) + 1
            part = Response(files[name][start:stop], 206, content_type="application/octet-stream")
            part.headers["Content-Range"] = f"bytes {start}-{min(stop, len(files[name])) - 1}/{len(files[name])}"
            return part
        below = {path.removeprefix(name) for path in files if path.startswith(name)}
        if not below:
            return Response(status=404)
        if not request.path.endswith("/"):
            return redirect(f"{request.path}/")
        entries = sorted({path.partition("/")[0] + "/" * ("/" in path) for path in below})
        return Response("".join(f'<a href="{entry}">{entry}</a>' for entry in entries), content_type="text/html")

    return Server(application)
