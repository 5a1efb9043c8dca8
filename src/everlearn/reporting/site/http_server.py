"""HTTP server of the site: loopback only, read-only, with an error page instead of a traceback.

    serve(lambda: open_registry(settings), port=8080)

Each request reads the state of the line (two small reads); a page is rendered again only after a change. Further
views, such as data for programs, are Starlette routes passed to `create_app`.
"""

from __future__ import annotations

import hashlib
import logging
import socket
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import Response
from starlette.routing import Route

from everlearn.errors import EverlearnError, ServiceError
from everlearn.reporting.site.pages import Site, error_page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.middleware.base import RequestResponseEndpoint
    from starlette.requests import Request

    from everlearn.registry.versions import Registry

LOG = logging.getLogger("everlearn.site")
HOST = "127.0.0.1"
HOST_NAMES = frozenset({"127.0.0.1", "localhost"})
HTML, TEXT = "text/html; charset=utf-8", "text/plain; charset=utf-8"
MAX_CACHED_PAGES = 256
IDLE_TIMEOUT_S = 30
SHUTDOWN_TIMEOUT_S = 1
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "everlearn",
}


@dataclass(slots=True)
class PageCache:
    """Rendered pages of the current state of a line. After an error, `open_line` is called again."""

    open_line: Callable[[], Registry]
    _site: Site | None = None
    _pages: dict[str, bytes | None] = field(default_factory=dict)
    _fingerprint: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def load(self, path: str) -> tuple[HTTPStatus, bytes]:
        """Return status and body of a page, or of an error page. Never raises."""
        try:
            with self._lock:
                body = self._page(path or "index.html")
        except EverlearnError as error:
            self._site = None
            LOG.warning("/%s: %s", path, error)
            return HTTPStatus.SERVICE_UNAVAILABLE, error_page(str(error))
        except Exception:
            LOG.exception("/%s", path)
            return HTTPStatus.INTERNAL_SERVER_ERROR, error_page("Internal error. The log of the site has the details.")
        if body is None:
            return HTTPStatus.NOT_FOUND, error_page("The line has no such page.", title="Not found")
        return HTTPStatus.OK, body

    def _page(self, path: str) -> bytes | None:
        if self._site is None:
            self._site = Site(self.open_line())
        snapshot = self._site.reader.snapshot()
        if snapshot.fingerprint != self._fingerprint or len(self._pages) >= MAX_CACHED_PAGES:
            self._pages, self._fingerprint = {}, snapshot.fingerprint
        if path not in self._pages:
            self._pages[path] = self._site.page(path, snapshot=snapshot)
        return self._pages[path]


def serve(open_line: Callable[[], Registry], *, port: int) -> None:
    """Serve the site until the process is interrupted. Raises ServiceError if the port is unusable."""
    with bind(port) as listener:
        create_server(create_app(open_line)).run(sockets=[listener])


def bind(port: int) -> socket.socket:
    """Return a listening socket on loopback; port 0 selects a free one. Raises ServiceError if the port is unusable."""
    try:
        return socket.create_server((HOST, port))
    except (OSError, OverflowError) as error:
        raise ServiceError(f"the site cannot listen on port {port} ({error}); choose another with --port") from None


def create_server(
    app: Starlette, *, keep_alive_s: int = IDLE_TIMEOUT_S, shutdown_s: int = SHUTDOWN_TIMEOUT_S
) -> uvicorn.Server:
    """Return a server for the app. It logs errors only and does not reveal versions in its headers.

    An idle connection is closed after `keep_alive_s`; requests in flight have `shutdown_s` at the end.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=shutdown_s,
    )
    return uvicorn.Server(config)


def create_app(open_line: Callable[[], Registry], *, views: Sequence[Route] = ()) -> Starlette:
    """Return the site as an ASGI app: `/health`, the given views, and the pages of the line."""
    pages = PageCache(open_line)

    def health(request: Request) -> Response:
        return respond(request, b"ok\n", media_type=TEXT)

    def page(request: Request) -> Response:  # not async: Starlette runs it in a thread, because it reads the store
        status, body = pages.load(request.scope["path"].removeprefix("/"))
        return respond(request, body, status=status)

    return Starlette(
        routes=[Route("/health", health), *views, Route("/{path:path}", page)],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=check_host)],
        exception_handlers={
            HTTPStatus.NOT_FOUND: lambda request, _: respond_error(
                request, HTTPStatus.NOT_FOUND, "The line has no such page.", title="Not found"
            ),
            HTTPStatus.METHOD_NOT_ALLOWED: lambda request, _: respond_error(
                request, HTTPStatus.NOT_IMPLEMENTED, "The site is read-only.", title="Not implemented"
            ),
        },
    )


async def check_host(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Refuse requests for a foreign host name: DNS rebinding would let any web page read this site through one."""
    if urlsplit(f"//{request.headers.get('host', '')}").hostname in HOST_NAMES:
        return await call_next(request)
    reason = f"Open it as http://{HOST}. Requests for other host names are refused, because web pages could read it."
    return respond_error(request, HTTPStatus.MISDIRECTED_REQUEST, reason, title="Wrong host name")


def respond_error(request: Request, status: HTTPStatus, reason: str, *, title: str) -> Response:
    """Return an error page as a response."""
    return respond(request, error_page(reason, title=title), status=status)


def respond(request: Request, body: bytes, *, status: HTTPStatus = HTTPStatus.OK, media_type: str = HTML) -> Response:
    """Return a response with security headers and an ETag, or 304 if the client already has this body."""
    headers = HEADERS | {"ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"'}
    if status is HTTPStatus.OK and request.headers.get("If-None-Match") == headers["ETag"]:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(body, status_code=status, headers=headers, media_type=media_type)
