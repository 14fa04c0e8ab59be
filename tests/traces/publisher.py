"""A publisher on this machine: an HTTP server that holds files, understands ranges, and misbehaves on request."""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Fault:
    """How one answer goes wrong; by default it does not.

    Attributes:
        status: answer with this status and no file.
        headers: further headers of the answer, with `status` or with the file.
        cut_after: close the connection after so many bytes of the body.
        stall_s: be silent for so long before the body.
        trickle: (bytes, seconds): send so many bytes at a time with such a pause after each.
        ignore_range: send the whole file whatever was asked for.
        ignore_if_range: send the range even if the file is another one.
        range_shift: send a range that begins so many bytes later than asked for.
        body: send these bytes instead of the file.
        plain: send neither length nor chunks: the end of the body is the end of the connection.
        chunked: send the body in chunks, without its length.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    stall_s: float = 0.0
    trickle: tuple[int, float] | None = None
    ignore_range: bool = False
    ignore_if_range: bool = False
    range_shift: int = 0
    body: bytes | None = None
    plain: bool = False
    chunked: bool = False


@dataclass
class Request:
    """One request and what was sent for it."""

    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0

    @property
    def range(self) -> str | None:
        return self.headers.get("Range")


class Publisher:
    """Files by path; `faults[path]` are used up one an answer, `always[path]` are not."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = dict(files or {})
        self.etags: dict[str, str | None] = {}
        self.modified: dict[str, str | None] = {}
        self.extra: dict[str, str] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.always: dict[str, Fault] = {}
        self.requests: list[Request] = []
        self.on_request: Callable[[Request], None] = lambda request: None
        self._stop = threading.Event()
        publisher = self

        class Handler(_Handler):
            owner = publisher

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Publisher:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()

    def pause(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def etag(self, path: str) -> str | None:
        if path in self.etags:
            return self.etags[path]
        return '"' + hashlib.sha1(self.files[path]).hexdigest() + '"'

    def last_modified(self, path: str) -> str | None:
        return self.modified.get(path, email.utils.formatdate(1_300_000_000, usegmt=True))

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: Publisher

    def log_message(self, *_: object) -> None:
        pass

    def handle_one_request(self) -> None:
        # A client that is stopped closes its connection without a word.
        try:
            super().handle_one_request()
        except ConnectionResetError:
            self.close_connection = True

    def do_GET(self) -> None:
        owner, path = self.owner, self.path.lstrip("/")
        request = Request(path, dict(self.headers.items()))
        owner.requests.append(request)
        waiting = owner.faults.get(path)
        fault = waiting.pop(0) if waiting else owner.always.get(path, Fault())
        owner.on_request(request)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if fault.status is not None or path not in owner.files:
                self._refuse(request, fault)
            else:
                self._send(request, fault, path)

    def _refuse(self, request: Request, fault: Fault) -> None:
        request.status = fault.status or 404
        self.send_response(request.status)
        for name, value in fault.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, request: Request, fault: Fault, path: str) -> None:
        owner = self.owner
        content = owner.files[path] if fault.body is None else fault.body
        etag, modified = owner.etag(path), owner.last_modified(path)
        first = 0
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        condition = request.headers.get("If-Range")
        holds = condition is None or fault.ignore_if_range or condition in (etag, modified)
        request.status = 200
        if asked and holds and not fault.ignore_range:
            first = int(asked[1]) + fault.range_shift
            request.status = 206 if first < len(content) else 416
        self.send_response(request.status)
        for name, value in {"ETag": etag, "Last-Modified": modified, **owner.extra, **fault.headers}.items():
            if value is not None:
                self.send_header(name, value)
        body = b"" if request.status == 416 else content[first:]
        if request.status == 206:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        elif request.status == 416:
            self.send_header("Content-Range", f"bytes */{len(content)}")
        if fault.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif not fault.plain:
            self.send_header("Content-Length", str(len(body)))
        if fault.plain or fault.cut_after is not None:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        owner.pause(fault.stall_s)
        cut = body if fault.cut_after is None else body[: fault.cut_after]
        step, rest_s = fault.trickle or (len(cut) or 1, 0.0)
        for start in range(0, len(cut), step):
            piece = cut[start : start + step]
            request.sent += len(piece)  # before the client has it: it may look at once
            try:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if fault.chunked else piece)
                self.wfile.flush()
            except OSError:
                request.sent -= len(piece)
                raise
            owner.pause(rest_s)
        if fault.chunked and fault.cut_after is None:
            self.wfile.write(b"0\r\n\r\n")


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something that another thread or process does; fails after a while."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it did not happen in time")
        time.sleep(0.01)
