"""Forked processes that form a group of torch, as the processes of one training do."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any

from torch import distributed

from everlearn.training.engines import collectives

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def in_each_process(action: Callable[[], Any], folder: Path) -> list[Any]:
    """Return the results of `action` in two forked processes of one group, by rank."""
    context = multiprocessing.get_context("fork")
    results: Any = context.Queue()

    def run(rank: int) -> None:
        init = f"file://{folder}/store"
        distributed.init_process_group("gloo", init_method=init, rank=rank, world_size=2)
        results.put((rank, action()))
        collectives.wait_for_all()
        distributed.destroy_process_group()

    processes = [context.Process(target=run, args=(rank,)) for rank in range(2)]
    for process in processes:
        process.start()
    by_rank = dict(results.get(timeout=300) for _ in processes)
    for process in processes:
        process.join()
    return [by_rank[rank] for rank in range(2)]
