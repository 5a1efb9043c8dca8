from __future__ import annotations

import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from everlearn.cli import serve_metrics as command
from everlearn.local.ports import draw_ports

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.everlearn.cli.conftest import Ended


def scrape_and_stop(port: int, seen: list[str]) -> None:
    """Request metrics until the exporter answers, then stop it with SIGTERM."""
    for _ in range(200):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
                seen.append(answer.read().decode())
            break
        except urllib.error.URLError:
            time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)


def test_metrics_serves_the_line_until_stopped(everlearn: Callable[..., Ended], publish: Callable[..., str]) -> None:
    publish()
    port = draw_ports(("metrics",))["metrics"]
    seen: list[str] = []
    before = signal.getsignal(signal.SIGTERM)
    asker = threading.Thread(target=scrape_and_stop, args=(port, seen))
    asker.start()
    ended = everlearn("metrics", "--port", str(port))
    asker.join()
    assert ended.code == 0
    assert f"http://127.0.0.1:{port}/metrics" in ended.err
    assert "everlearn_up{" in seen[0]
    assert 'everlearn_verdicts_total{end="PUBLISHED",' in seen[0]
    assert "everlearn_prefect_up" not in seen[0]
    assert signal.getsignal(signal.SIGTERM) is before


def test_metrics_names_a_remedy_for_a_taken_port(everlearn: Callable[..., Ended], publish: Callable[..., str]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        ended = everlearn("metrics", "--port", str(taken.getsockname()[1]))
    assert (ended.code, "choose another with --port" in ended.err) == (2, True)


@pytest.mark.slow
def test_metrics_include_prefect_if_configured(
    everlearn: Callable[..., Ended], publish: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    port = draw_ports(("metrics",))["metrics"]
    seen: list[str] = []
    asker = threading.Thread(target=scrape_and_stop, args=(port, seen))
    asker.start()
    everlearn("metrics", "--port", str(port))
    asker.join()
    assert "everlearn_up{" in seen[0]
    assert "} 0.0" in next(line for line in seen[0].splitlines() if line.startswith("everlearn_prefect_up{"))
    assert command.TIMEOUT_S < 5
