"""The smallest local server: serves its working directory over HTTP."""

from __future__ import annotations

import sys

from everlearn.local.local_server import LocalServer, is_healthy

SERVE = "import http.server as h, sys; h.HTTPServer(('127.0.0.1', int(sys.argv[1])), h.SimpleHTTPRequestHandler).serve_forever()"


class StaticServer(LocalServer):
    name = "Static"
    roles = ("page",)
    code = SERVE

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.config.ports['page']}/"

    def command(self) -> list[str]:
        return [sys.executable, "-c", self.code, str(self.config.ports["page"])]

    def environ(self) -> dict[str, str]:
        return {}

    def is_ready(self) -> bool:
        return is_healthy(self.url)
