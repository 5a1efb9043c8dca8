"""A loopback server with the part of the Hugging Face hub's protocol that huggingface_hub uses to read a model.

Repositories are folders; each is one commit, to which any number of branches and tags point. Faults: `gated`, `hidden`
(private or missing), `broken` (500) by name of the model, and `cut`: bytes of large files after which a connection
closes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit

from huggingface_hub import constants

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    import pytest

FAULTS = {
    "gated": (403, "GatedRepo"),
    "hidden": (401, "RepoNotFound"),
    "broken": (500, ""),
    "forbidden": (403, ""),
}
LARGE = 10_000
"""Bytes from which a file is kept by its SHA-256, as git-lfs does."""


class _HubServer(ThreadingHTTPServer):
    daemon_threads = True
    hub: FakeHub

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: cut connections are part of the tests."""


@dataclass(slots=True)
class FakeHub:
    """The hub on a free port. `commits` are folders by (model, commit), `refs` commits by (model, branch or tag)."""

    commits: dict[tuple[str, str], Path] = field(default_factory=dict)
    refs: dict[tuple[str, str], str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    requests: list[str] = field(default_factory=list)
    sent: int = 0
    server: _HubServer = field(init=False)

    def __enter__(self) -> Self:
        self.server = _HubServer(("127.0.0.1", 0), _HubHandler)
        self.server.hub = self
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def add(self, model: str, folder: Path, *, ref: str = "main") -> str:
        """Serve a folder as a new commit of the model, to which `ref` points now; return the commit."""
        commit = hashlib.sha1(f"{model} {ref} {len(self.commits)}".encode()).hexdigest()
        self.commits[model, commit] = folder
        self.refs[model, ref] = commit
        return commit

    def use(self, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
        """Make huggingface_hub in this process ask this server, with an empty cache and no token."""
        monkeypatch.setattr(constants, "ENDPOINT", self.url)
        template = f"{self.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)


class _HubHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _HubServer

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.server.hub, unquote(urlsplit(self.path).path)
        hub.requests.append(f"{self.command} {path}")
        asked = re.fullmatch(
            r"/(?:api/models/(?P<id>[\w.-]+/[\w.-]+)/(?P<what>revision|tree)/(?P<rev>.+?)"
            r"|(?P<id2>[\w.-]+/[\w.-]+)/resolve/(?P<rev2>[^/]+)/(?P<file>.+))",
            path.removesuffix("/"),
        )
        if asked is None:
            self._send(404, b"")
            return
        model, revision = asked["id"] or asked["id2"], asked["rev"] or asked["rev2"]
        commit = hub.refs.get((model, revision), revision)
        known = {name for name, _ in hub.commits}
        if model in hub.faults or model not in known:
            code, error = FAULTS[hub.faults.get(model, "hidden")]
            self._send(code, b"", {"X-Error-Code": error, "X-Error-Message": "no"})
        elif (model, commit) not in hub.commits:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif asked["file"]:
            self._send_file(hub.commits[model, commit] / asked["file"], commit)
        else:
            self._send_json(asked["what"], model, commit)

    def _send_json(self, what: str, model: str, commit: str) -> None:
        folder = self.server.hub.commits[model, commit]
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        entries = [_entry(path, path.relative_to(folder).as_posix()) for path in files]
        info = {
            "id": model,
            "sha": commit,
            "siblings": [{"rfilename": entry["path"], "size": entry["size"]} for entry in entries],
        }
        body = json.dumps(entries if what == "tree" else info).encode()
        self._send(200, body, {"Content-Type": "application/json"})

    def _send_file(self, path: Path, commit: str) -> None:
        if not path.is_file():
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        data = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked[1]) if asked else 0
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_etag(data)}"', "Accept-Ranges": "bytes"}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(206 if asked else 200, data[start:], headers)

    def _send(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        hub = self.server.hub
        self.send_response(code)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if hub.cut is not None and len(body) > LARGE:
            body, hub.cut = body[: hub.cut], None
            self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.write(body)
            hub.sent += len(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Log nothing."""


def _etag(data: bytes) -> str:
    return (hashlib.sha256 if len(data) > LARGE else hashlib.sha1)(data).hexdigest()


def _entry(path: Path, name: str) -> dict[str, Any]:
    data = path.read_bytes()
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
    if len(data) > LARGE:
        entry["lfs"] = {"oid": _etag(data), "size": len(data), "pointerSize": 130}
    return entry
