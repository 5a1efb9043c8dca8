"""A headless Chromium for tests, controlled over the DevTools protocol.

Nothing is installed here; `make test-slow` installs Debian's package.
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

TIMEOUT_S = 60.0
EXIT_TIMEOUT_S = 5.0
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
    "about:blank",
)


def program() -> str | None:
    """Return the path of Chromium, or None if it is not installed."""
    return shutil.which("chromium")


@dataclass(slots=True)
class Tab:
    """One tab. `requests` are the requested URLs, `errors` the messages of its console and network."""

    socket: Connection
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _loaded: bool = False
    _count: int = 0

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a protocol method and return its result; events received meanwhile are recorded."""
        self._count += 1
        self.socket.send(json.dumps({"id": self._count, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv(timeout=TIMEOUT_S))
            if message.get("id") == self._count:
                assert "error" not in message, message
                return dict(message["result"])
            self._record(message["method"], message["params"])

    def start(self) -> None:
        """Enable the events that report errors."""
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def set_screen(self, *, width: int, height: int, dark: bool = False, phone: bool = False) -> None:
        """Emulate a screen of this size, in light or dark mode."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def forbid_scripts(self) -> None:
        """Disable JavaScript on the page."""
        self.call("Emulation.setScriptExecutionDisabled", value=True)

    def open(self, url: str) -> None:
        """Load a page and wait for its load event."""
        self._loaded = False
        self.call("Page.navigate", url=url)
        deadline = time.monotonic() + TIMEOUT_S
        while not self._loaded:
            message = json.loads(self.socket.recv(timeout=deadline - time.monotonic()))
            self._record(message["method"], message["params"])

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; works with the page's own scripts disabled, too."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def screenshot(self, path: Path, *, height: int | None = None) -> Path:
        """Save a screenshot of the page from its top, the whole page unless a height is given."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def _record(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Page.loadEventFired":
                self._loaded = True
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Network.loadingFailed":
                self.errors.append(str(params["errorText"]))
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                self.errors.append(json.dumps(params))
            case "Log.entryAdded":
                self.errors.append(params["entry"]["text"])
            case _:
                pass


@contextlib.contextmanager
def browse(profile: Path) -> Iterator[Tab]:
    """Yield the tab of a fresh browser, which ends with the block."""
    port_file = profile / "DevToolsActivePort"
    with subprocess.Popen(
        [str(program()), *FLAGS, f"--user-data-dir={profile}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert wait_until(
                lambda: port_file.exists() and "/" in port_file.read_text(encoding="utf-8"), timeout_s=TIMEOUT_S
            )
            port, path = port_file.read_text(encoding="utf-8").split()
            with connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as browser:
                page = Tab(browser).call("Target.createTarget", url="about:blank")["targetId"]
                with connect(f"ws://127.0.0.1:{port}/devtools/page/{page}", max_size=None) as socket:
                    tab = Tab(socket)
                    tab.start()
                    yield tab
                Tab(browser).call("Browser.close")  # a signal would leave child processes running
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=EXIT_TIMEOUT_S)
            process.kill()
