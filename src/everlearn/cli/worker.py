"""`worker`: run the scheduled flows on this machine."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from everlearn.cli.output import print_note
from everlearn.cli.schedule import prefect_client
from everlearn.cli.signals import stop_on_signal
from everlearn.errors import ServiceError
from everlearn.orchestration.run_records import RunRecords

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping

    from everlearn.cli.context import Installation

app = typer.Typer()
POOLS = ["cpu", "gpu"]
POLL_S = 2.0
STOP_TIMEOUT_S = 20.0


@app.command()
def worker(
    context: typer.Context,
    *,
    pool: Annotated[
        list[str] | None,
        typer.Option(metavar="POOL", help="Work pool; repeat it for several. By default both, cpu and gpu."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of concurrent runs in each pool.")] = None,
) -> None:
    """Run scheduled flows on this machine until Ctrl-C or SIGTERM: one worker per pool, restarted if it ends.

    Pool gpu is for flows that decode or train, pool cpu for the others. Runs that died with an earlier worker of this
    machine are started again at once.

        everlearn worker
        everlearn worker --pool gpu --limit 1
    """
    installation: Installation = context.obj
    pools = pool or POOLS
    with prefect_client(installation) as client:
        from everlearn.orchestration.workers import check_process_pools, worker_command

        check_process_pools(client, pools)
        commands = {each: worker_command(each, limit=limit) for each in pools}
    print_note(
        f"running workers of {' and '.join(pools)}; Ctrl-C or SIGTERM stops them, and other workers resume their runs"
    )
    runs = RunRecords(folder=installation.home / "runs")
    mark_crashed(installation, runs, pending=True)
    with stop_on_signal() as stop:
        supervise(commands, stop=stop, poll=lambda: mark_crashed(installation, runs, pending=False))
    mark_crashed(installation, runs, pending=True)


def supervise(
    commands: Mapping[str, list[str]], *, stop: threading.Event, poll: Callable[[], None], every_s: float = POLL_S
) -> None:
    """Run each command until `stop`, and restart one that ends by itself. `poll` is called every `every_s` seconds."""
    with ExitStack() as processes:
        running = {name: processes.enter_context(child_process(command)) for name, command in commands.items()}
        while not stop.wait(every_s):
            poll()
            for name, process in running.items():
                if process.poll() is not None:
                    print_note(f"the worker of pool {name} has ended ({process.returncode}); restarting it")
                    running[name] = processes.enter_context(child_process(commands[name]))
        poll()
        print_note("stopping")


@contextmanager
def child_process(command: list[str], *, timeout_s: float = STOP_TIMEOUT_S) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process while the block runs, then terminate it; kill it after `timeout_s` seconds.

    It has a session of its own: Ctrl-C at the terminal would otherwise signal it a second time.
    """
    environ = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PREFECT_WORKER_QUERY_SECONDS": "5"} | os.environ
    with subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()


def mark_crashed(installation: Installation, runs: RunRecords, *, pending: bool) -> None:
    """Record the runs of this machine, and mark those whose process has died as crashed on the server.

    If the server does not answer, they are marked the next time.
    """
    runs.refresh()
    dead = runs.dead()
    if not dead:
        return
    try:
        with prefect_client(installation) as client:
            from everlearn.orchestration import workers

            for run in dead:
                name = workers.mark_crashed(client, run, pending=pending)
                runs.delete(run)
                if name is not None:
                    print_note(f"{name}: its process has died")
    except ServiceError as error:
        print_note(f"{error}; runs that died here are marked as crashed later")
