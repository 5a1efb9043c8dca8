"""Workers of this machine: which commands run them, and telling the server which runs have died with them."""

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

ALIVE = {StateType.RUNNING, StateType.CANCELLING}


def command(pool: str, *, limit: int | None) -> list[str]:
    """What runs a worker of that pool, as a module of this very interpreter."""
    most = ["--limit", str(limit)] if limit else []
    name = f"{socket.gethostname()}-{pool}"
    return [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--name", name, *most]


def demand_pools(client: SyncPrefectClient, pools: Sequence[str]) -> None:
    """BadInputError names a pool that is not there, or that no process can serve."""
    for pool in pools:
        try:
            found = client.read_work_pool(pool)
        except ObjectNotFound:
            raise BadInputError(f"the server has no work pool {pool!r}; run `everlearn deploy` first") from None
        if found.type != "process":
            raise BadInputError(
                f"work pool {pool!r} is of type {found.type}: its workers do not run here, but as infra/kubernetes says"
            )


def bury(client: SyncPrefectClient, run: str, *, pending: bool) -> str | None:
    """Tell the server that a run's process lives no longer; the run's name, or None where there is nothing to tell.

    A night among them is taken up again at once, by the automation for those that crash. While a worker is still about
    to start a run, it does so in one process after another: `pending` says that no worker is any more.
    """
    try:
        found = client.read_flow_run(UUID(run))
    except ObjectNotFound:
        return None
    if found.state_type not in ALIVE and not (pending and found.state_type is StateType.PENDING):
        return None
    cancelled = found.state_type is StateType.CANCELLING
    message = f"Its process on {socket.gethostname()} lives no longer."
    client.set_flow_run_state(found.id, (Cancelled if cancelled else Crashed)(message=message), force=True)
    return found.name
