"""Where runs go on a server: work pools with their queues, and of the pool `gpu` no more runs at once than there are GPUs.

The limit is the pool's own: it counts runs. Leases of a global concurrency limit live in the server's memory, and when it
is killed, their slots stay taken for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prefect.client.orchestration import SyncPrefectClient

FIRST = 1
"""Priority of the queue that goes before all others of its pool."""
GPU, GPUS = "gpu", 1
"""The pool with a limit, and the one that it begins with: `prefect work-pool update gpu --concurrency-limit N`."""


def missing(client: SyncPrefectClient, *, queues: Iterable[tuple[str, str]]) -> Iterator[str]:
    """What is not there yet, in words; `queues` are pairs of pool and queue."""
    for pool, queue in sorted(queues):
        if not _has_queue(client, pool, queue):
            yield f"work queue {pool}/{queue}"


def ensure(client: SyncPrefectClient, *, queues: Iterable[tuple[str, str]]) -> None:
    """Make what is missing; what is there stays as somebody has set it."""
    for pool, queue in sorted(queues):
        if not _has_pool(client, pool):
            limit = GPUS if pool == GPU else None
            client.create_work_pool(WorkPoolCreate(name=pool, type="process", concurrency_limit=limit))
        if not _has_queue(client, pool, queue):
            client.create_work_queue(name=queue, work_pool_name=pool, priority=FIRST)


def _has_pool(client: SyncPrefectClient, pool: str) -> bool:
    try:
        client.read_work_pool(pool)
    except ObjectNotFound:
        return False
    return True


def _has_queue(client: SyncPrefectClient, pool: str, queue: str) -> bool:
    try:
        client.read_work_queue_by_name(queue, work_pool_name=pool)
    except ObjectNotFound:
        return False
    return True
