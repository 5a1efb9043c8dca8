"""Where runs go on a server: work pools with their queues, and as many slots for training as there are GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, WorkPoolCreate
from prefect.exceptions import ObjectNotFound

from tasks.gpu import GPU

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prefect.client.orchestration import SyncPrefectClient

FIRST = 1
"""Priority of the queue that goes before all others of its pool."""


def missing(client: SyncPrefectClient, *, queues: Iterable[tuple[str, str]]) -> Iterator[str]:
    """What is not there yet, in words; `queues` are pairs of pool and queue."""
    for pool, queue in sorted(queues):
        if not _has_queue(client, pool, queue):
            yield f"work queue {pool}/{queue}"
    if not _has_limit(client):
        yield f"concurrency limit {GPU}: one at a time, until `prefect gcl update {GPU} --limit N`"


def ensure(client: SyncPrefectClient, *, queues: Iterable[tuple[str, str]]) -> None:
    """Make what is missing; what is there stays as somebody has set it."""
    for pool, queue in sorted(queues):
        if not _has_pool(client, pool):
            client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
        if not _has_queue(client, pool, queue):
            client.create_work_queue(name=queue, work_pool_name=pool, priority=FIRST)
    if not _has_limit(client):
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=GPU, limit=1))


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


def _has_limit(client: SyncPrefectClient) -> bool:
    try:
        client.read_global_concurrency_limit_by_name(GPU)
    except ObjectNotFound:
        return False
    return True
