"""A real Chromium for tests, driven over the DevTools protocol: a page as somebody with a phone sees it.

Nothing is installed here: `make test-slow` sees to Debian's package.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from websockets.sync.client import connect

from everlearn.local.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from websockets.sync.connection import Connection

PATIENCE_S = 60.0
GRACE_S = 5.0
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--remote-debugging-port=0", "about:blank",
)  # fmt: skip


def program() -> str | None:
    """Where Chromium is installed; None where it is not."""
    return shutil.which("chromium")


@dataclass(slots=True)
class Tab:
    """One tab. `requests` are the addresses it asked for, `complaints` what its console and its network said."""

    socket: Connection
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    _loaded: bool = False
    _count: int = 0

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its answer; events on the way are noted."""
        self._count += 1
        self.socket.send(json.dumps({"id": self._count, "method": method, "params": params}))
        while True:
            told = json.loads(self.socket.recv(timeout=PATIENCE_S))
            if told.get("id") == self._count:
                assert "error" not in told, told
                return dict(told["result"])
            self._note(told["method"], told["params"])

    def start(self) -> None:
        """Listen to everything that could be amiss."""
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def see(self, *, width: int, height: int, dark: bool = False, phone: bool = False) -> None:
        """A screen of this size, in light or in dark."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def forbid_scripts(self) -> None:
        """As with JavaScript turned off."""
        self.call("Emulation.setScriptExecutionDisabled", value=True)

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self._loaded = False
        self.call("Page.navigate", url=url)
        deadline = time.monotonic() + PATIENCE_S
        while not self._loaded:
            told = json.loads(self.socket.recv(timeout=deadline - time.monotonic()))
            self._note(told["method"], told["params"])

    def ask(self, expression: str) -> Any:
        """The value of an expression on the page; works where the page's own scripts are forbidden, too."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def shoot(self, path: Path, *, height: int | None = None) -> Path:
        """A picture of the page from its top, the whole of it unless a height is given."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def _note(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Page.loadEventFired":
                self._loaded = True
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Network.loadingFailed":
                self.complaints.append(str(params["errorText"]))
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(params))
            case "Log.entryAdded":
                self.complaints.append(params["entry"]["text"])
            case _:
                pass


@contextlib.contextmanager
def browse(profile: Path) -> Iterator[Tab]:
    """A fresh browser with one tab, ended with the block."""
    told = profile / "DevToolsActivePort"
    with subprocess.Popen(
        [str(program()), *FLAGS, f"--user-data-dir={profile}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert wait_until(lambda: told.exists() and "/" in told.read_text(encoding="utf-8"), timeout_s=PATIENCE_S)
            port, path = told.read_text(encoding="utf-8").split()
            with connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as browser:
                page = Tab(browser).call("Target.createTarget", url="about:blank")["targetId"]
                with connect(f"ws://127.0.0.1:{port}/devtools/page/{page}", max_size=None) as socket:
                    tab = Tab(socket)
                    tab.start()
                    yield tab
                Tab(browser).call("Browser.close")  # unlike a signal, this leaves no child behind
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=GRACE_S)
            process.kill()
