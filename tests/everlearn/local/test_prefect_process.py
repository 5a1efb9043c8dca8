"""A server on SQLite does not stand still: what waits for a database while garbage is collected is not its event loop."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from everlearn.local.prefect_process import garbage_collected_by_a_thread
from everlearn.local.prefect_server import LocalPrefect
from everlearn.local.process import wait_until

if TYPE_CHECKING:
    from pathlib import Path


class Cycle:
    """Garbage that only a collection frees."""

    def __init__(self, held: object = None) -> None:
        self.held, self.itself = held, self


def test_the_main_thread_goes_on_although_a_cursor_that_is_freed_waits_for_its_connection() -> None:
    begun, ended, results = threading.Event(), threading.Event(), list[tuple[int]]()
    connection = sqlite3.connect(":memory:", check_same_thread=False)

    def wait() -> bool:
        begun.set()
        return ended.wait(20)

    connection.create_function("wait", 0, wait)
    using = threading.Thread(target=lambda: results.extend(connection.execute("SELECT wait()")))
    with garbage_collected_by_a_thread(interval_s=0.01):
        cycle = Cycle(connection.execute("SELECT 1 UNION SELECT 2"))  # its rows are not read
        freed = weakref.ref(cycle)
        using.start()
        assert begun.wait(10)
        del cycle
        assert wait_until(lambda: bool([Cycle() for _ in range(100)]) and freed() is None, timeout_s=10)
        ended.set()
        using.join()
    assert gc.isenabled()
    assert results == [(1,)], "the main thread has waited for the connection"


@pytest.mark.slow
def test_a_server_under_load_never_stands_still(tmp_path: Path) -> None:
    async def record_runs(api: str, *, seconds: float) -> list[float]:
        """Return how long each request took while eight clients report runs."""
        took: list[float] = []
        async with httpx.AsyncClient(base_url=api, timeout=120) as client:
            flow = (await client.post("/flows/", json={"name": "night"})).json()["id"]

            async def post(path: str, body: Any) -> httpx.Response:
                began = time.monotonic()
                try:
                    return await client.post(path, json=body)
                except httpx.TransportError:
                    return httpx.Response(503)  # a client of Prefect would ask again
                finally:
                    took.append(time.monotonic() - began)

            async def report() -> None:
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    created = await post("/flow_runs/", {"flow_id": flow, "state": {"type": "PENDING"}})
                    if not created.is_success:
                        continue
                    run = created.json()["id"]
                    line = {"name": "night", "level": 20, "message": "", "timestamp": "2026-12-01T04:00:00Z"}
                    for state in ("RUNNING", "COMPLETED"):
                        await post(f"/flow_runs/{run}/set_state", {"state": {"type": state}})
                    await post("/logs/", [line | {"flow_run_id": run}] * 20)
                    await post("/artifacts/", {"key": "report", "type": "markdown", "data": "", "flow_run_id": run})
                    await post("/flow_runs/filter", {"limit": 100})

            await asyncio.gather(*(report() for _ in range(8)))
        return took

    with LocalPrefect(tmp_path) as server:
        took = asyncio.run(record_runs(server.api_url, seconds=30))
    assert len(took) > 100
    assert max(took) < 30, f"of {len(took)} requests the slowest took {max(took):.0f} s"
