"""Prefect's command line, in a process that collects garbage in a thread of its own.

    python -m everlearn.local.prefect_process server start

On SQLite, Prefect's server otherwise stands still for a minute now and then. Some of its cursors end in reference cycles.
A collection in the event loop's thread frees one, and for that waits for its connection; another thread has this
connection and waits for the write lock; and the transaction that has the write lock waits for the event loop. Only
SQLite's timeout, 60 s in Prefect, ends that. A thread that does nothing else may wait.
"""

from __future__ import annotations

import contextlib
import gc
import runpy
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERVAL_S = 1.0
FULL = 60
"""All generations are collected every so many intervals, which takes about half a second; else the two youngest."""


@contextlib.contextmanager
def garbage_collected_by_a_thread(*, interval_s: float = INTERVAL_S) -> Iterator[None]:
    """Collect garbage every `interval_s` by a thread of its own, and by no other, while the block runs."""
    ended = threading.Event()

    def collect() -> None:
        number = 0
        while not ended.wait(interval_s):
            number += 1
            gc.collect(1 if number % FULL else 2)

    collecting = threading.Thread(target=collect, name="garbage", daemon=True)
    gc.disable()
    collecting.start()
    try:
        yield
    finally:
        ended.set()
        collecting.join()
        gc.enable()


if __name__ == "__main__":
    with garbage_collected_by_a_thread():
        runpy.run_module("prefect", run_name="__main__", alter_sys=True)
