"""The site over HTTP: on loopback only, GET and HEAD only, and a sentence instead of a traceback where it cannot be shown.

    serve(lambda: open_registry(settings), port=8080)

Each request looks at the line (two small reads); a page is made again only where something has changed since. Another
view of the line that programs read, such as metrics, belongs into `Front.views`, by its path.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from everlearn.errors import EverlearnError, ServiceError
from everlearn.reporting.site.pages import Site, error_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.registry.versions import Registry

LOG = logging.getLogger("everlearn.site")
HOST = "127.0.0.1"
HTML, TEXT = "text/html; charset=utf-8", "text/plain; charset=utf-8"
HEALTH = "/health"
NAMES = frozenset({"127.0.0.1", "localhost"})
MOST_KEPT = 256  # pages
PATIENCE_S = 30.0  # for a browser that says nothing
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is sent."""

    status: HTTPStatus
    body: bytes
    kind: str = HTML


@dataclass(slots=True)
class Front:
    """From a path to an answer. `open_line` is tried again after every error, so that a server may come later."""

    open_line: Callable[[], Registry]
    views: dict[str, Callable[[], Answer]] = field(default_factory=dict)
    _site: Site | None = None
    _kept: dict[str, bytes | None] = field(default_factory=dict)
    _stamp: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str) -> Answer:
        """The page at a path, or a page that says why there is none. Never raises."""
        try:
            if path in self.views:
                return self.views[path]()
            with self._lock:
                body = self._page(path.removeprefix("/") or "index.html")
        except EverlearnError as error:
            self._site = None
            LOG.warning("%s: %s", path, error)
            return Answer(status=HTTPStatus.SERVICE_UNAVAILABLE, body=error_page(str(error)))
        except Exception:
            LOG.exception("%s", path)
            reason = "This is a bug of ours; the log of the site says more."
            return Answer(status=HTTPStatus.INTERNAL_SERVER_ERROR, body=error_page(reason))
        if body is None:
            return Answer(status=HTTPStatus.NOT_FOUND, body=error_page("The line has no such page.", title="Not found"))
        return Answer(status=HTTPStatus.OK, body=body)

    def _page(self, path: str) -> bytes | None:
        if self._site is None:
            self._site = Site(self.open_line())
        snapshot = self._site.reader.snapshot()
        if snapshot.stamp != self._stamp or len(self._kept) >= MOST_KEPT:
            self._kept, self._stamp = {}, snapshot.stamp
        if path not in self._kept:
            self._kept[path] = self._site.page(path, snapshot=snapshot)
        return self._kept[path]


def serve(open_line: Callable[[], Registry], *, port: int) -> None:
    """Serve until the process ends."""
    with listen(open_line, port=port) as server:
        server.serve_forever()


def listen(open_line: Callable[[], Registry], *, port: int) -> ThreadingHTTPServer:
    """A server that listens, with nobody answering yet. Port 0 is any that is free; ServiceError for one that is not."""
    front = Front(open_line, views={HEALTH: lambda: Answer(status=HTTPStatus.OK, body=b"ok\n", kind=TEXT)})

    class Handler(_Handler):
        find = staticmethod(front.answer)

    try:
        server = ThreadingHTTPServer((HOST, port), Handler)
    except (OSError, OverflowError) as error:
        raise ServiceError(f"nothing can be served on port {port} ({error}); choose another with --port") from None
    server.daemon_threads = True
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE_S
    find: Callable[[str], Answer]

    def do_GET(self) -> None:
        """Send a page, unless the browser has it already."""
        self._send(body=True)

    def do_HEAD(self) -> None:
        """The same without the page."""
        self._send(body=False)

    def version_string(self) -> str:
        """Whose server this is, and nothing about versions."""
        return "everlearn"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Pages that were seen are nobody's business."""

    def _send(self, *, body: bool) -> None:
        found = self._found()
        tag = f'"{hashlib.sha256(found.body).hexdigest()[:32]}"'
        known = found.status is HTTPStatus.OK and self.headers.get("If-None-Match") == tag
        self.send_response(HTTPStatus.NOT_MODIFIED if known else found.status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("ETag", tag)
        if not known:
            self.send_header("Content-Type", found.kind)
            self.send_header("Content-Length", str(len(found.body)))
        self.end_headers()
        if body and not known:
            self.wfile.write(found.body)

    def _found(self) -> Answer:
        """A page of another name's site would let any web page read this one (DNS rebinding): such hosts get nothing."""
        host = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        if host not in NAMES:
            reason = f"Open it as http://{HOST}: other names are refused, so that no web page can read it through one."
            return Answer(status=HTTPStatus.MISDIRECTED_REQUEST, body=error_page(reason, title="Wrong name"))
        return self.find(unquote(urlsplit(self.path).path))
