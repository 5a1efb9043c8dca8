"""Create the work pools and queues of the deployments. Pool `gpu` runs at most as many runs as there are GPUs.

The limit is the pool's own, which counts runs. A global concurrency limit would keep its leases in the server's memory,
so that their slots stay taken after the server was killed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prefect.client.orchestration import SyncPrefectClient

HIGHEST_PRIORITY = 1
GPU_POOL, INITIAL_GPUS = "gpu", 1
"""Later: `prefect work-pool update gpu --concurrency-limit N`."""


def missing_queues(client: SyncPrefectClient, queues: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the names of the queues that the server lacks; `queues` are pairs of pool and queue."""
    for pool, queue in sorted(queues):
        if not _has_queue(client, pool, queue):
            yield f"work queue {pool}/{queue}"


def create_queues(client: SyncPrefectClient, queues: Iterable[tuple[str, str]]) -> None:
    """Create the pools and queues that the server lacks; existing ones keep their settings."""
    for pool, queue in sorted(queues):
        if not _has_pool(client, pool):
            limit = INITIAL_GPUS if pool == GPU_POOL else None
            client.create_work_pool(WorkPoolCreate(name=pool, type="process", concurrency_limit=limit))
        if not _has_queue(client, pool, queue):
            client.create_work_queue(name=queue, work_pool_name=pool, priority=HIGHEST_PRIORITY)


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
