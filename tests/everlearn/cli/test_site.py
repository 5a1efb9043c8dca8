from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

from everlearn.cli.context import Installation
from everlearn.local.local_server import is_healthy
from everlearn.local.ports import draw_ports
from everlearn.local.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.everlearn.cli.conftest import Ended


def test_site_writes_pages(everlearn: Callable[..., Ended], publish: Callable[..., str], tmp_path: Path) -> None:
    publish(reason="12 of 200 more solved")
    facts = everlearn("site", "--out", str(tmp_path / "public"), "--json").facts
    assert "index.html" in facts["pages"]
    assert "12 of 200 more solved" in (tmp_path / "public" / "index.html").read_text(encoding="utf-8")
    assert "pages in" in everlearn("site", "--out", str(tmp_path / "public")).out


def test_site_serves_until_ctrl_c(everlearn: Callable[..., Ended]) -> None:
    port = draw_ports(("http",))["http"]
    answered = []

    def visit() -> None:
        answered.append(wait_until(lambda: is_healthy(f"http://127.0.0.1:{port}/index.html"), timeout_s=30))
        os.kill(os.getpid(), signal.SIGINT)

    visitor = threading.Thread(target=visit)
    visitor.start()
    assert everlearn("site", "--port", str(port)).code == 0
    visitor.join()
    assert answered == [True]


def test_report_and_status_name_the_site(
    everlearn: Callable[..., Ended], publish: Callable[..., str], home: Path, params: Path, tmp_path: Path
) -> None:
    publish()
    with Installation(home=home, params=params).site() as site:
        assert is_healthy(f"{site.url}/index.html")
        assert site.url in everlearn("report", "v0001", "--to", str(tmp_path / "night.html")).err
        assert everlearn("status").out.count(site.url) == 1
