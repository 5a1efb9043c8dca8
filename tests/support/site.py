"""The site served on a free port of loopback for the duration of a block."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from everlearn.local.process import wait_until
from everlearn.reporting.site.http_server import bind, create_app, create_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.routing import Route

    from everlearn.registry.versions import Registry


@contextlib.contextmanager
def serve_site(open_registry: Callable[[], Registry], *views: Route) -> Iterator[int]:
    """Yield the port of a running site."""
    with bind(0) as listener:
        server = create_server(create_app(open_registry, views=views))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert wait_until(lambda: server.started, timeout_s=10)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()
