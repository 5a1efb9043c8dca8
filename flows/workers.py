"""Workers of this machine: which commands run them, and what to do with the runs that died with them.

A worker that is stopped takes its runs with it, and the server goes on believing that they run. Whoever stops or
starts workers here looks for such runs, so that they are taken up elsewhere at once and not after a minute's silence.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed

from everlearn.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

ALIVE = [StateType.RUNNING, StateType.CANCELLING]


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
                f"work pool {pool!r} is of type {found.type}; workers for it do not run here (infra/kubernetes)"
            )


def bury_dead(client: SyncPrefectClient) -> list[str]:
    """Tell the server which runs of this machine live no longer; their names. A night among them is taken up again."""
    alive = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=ALIVE)))
    dead = [run for run in client.read_flow_runs(flow_run_filter=alive) if is_dead(run)]
    for run in dead:
        cancelled = run.state_type is StateType.CANCELLING
        silent = f"Its process on {socket.gethostname()} lives no longer."
        client.set_flow_run_state(run.id, Cancelled() if cancelled else Crashed(message=silent), force=True)
    return [run.name for run in dead]


def is_dead(run: FlowRun) -> bool:
    """Whether it was a process of this machine, and is none any more. Of other machines nothing is known."""
    host, _, pid = (run.infrastructure_pid or "").rpartition(":")
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        return str(run.id).encode() not in (Path("/proc") / pid / "environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True
    except PermissionError:
        return False
