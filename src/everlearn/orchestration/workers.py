"""Worker processes of this machine, and the runs that died with them."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed

from everlearn.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect.client.orchestration import SyncPrefectClient

ACTIVE = {StateType.RUNNING, StateType.CANCELLING}


def worker_command(pool: str, *, limit: int | None) -> list[str]:
    """Return the command line of a worker of `pool` with at most `limit` runs at once, for this Python interpreter."""
    options = ["--limit", str(limit)] if limit else []
    name = f"{socket.gethostname()}-{pool}"
    return [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--name", name, *options]


def check_process_pools(client: SyncPrefectClient, pools: Sequence[str]) -> None:
    """Raise BadInputError if a work pool is missing or is not of type `process`."""
    for name in pools:
        try:
            pool = client.read_work_pool(name)
        except ObjectNotFound:
            raise BadInputError(f"the server has no work pool {name!r}; run `everlearn deploy` first") from None
        if pool.type != "process":
            raise BadInputError(
                f"work pool {name!r} is of type {pool.type}: start its workers as infra/kubernetes/README.md describes"
            )


def mark_crashed(client: SyncPrefectClient, run: str, *, pending: bool) -> str | None:
    """Set a run whose process has ended to CRASHED, or to CANCELLED if it was being cancelled.

    Returns the run's name, or None if the run has ended already or is unknown. The automation for crashed nights starts
    a new run. A PENDING run is marked only if `pending`: while a worker is running, it may be about to start that run,
    which takes it several processes.
    """
    try:
        flow_run = client.read_flow_run(UUID(run))
    except ObjectNotFound:
        return None
    if flow_run.state_type not in ACTIVE and not (pending and flow_run.state_type is StateType.PENDING):
        return None
    state = Cancelled if flow_run.state_type is StateType.CANCELLING else Crashed
    message = f"Its process on {socket.gethostname()} has ended."
    client.set_flow_run_state(flow_run.id, state(message=message), force=True)
    return flow_run.name
