"""`worker`: let this machine run what the server schedules."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from everlearn.cli.output import tell
from everlearn.cli.schedule import client_of
from everlearn.errors import ServiceError
from everlearn.orchestration.run_records import RunRecords

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from everlearn.cli.context import Place

app = typer.Typer()
POOLS = ["cpu", "gpu"]
LOOK_S = 2.0
PATIENCE_S = 20.0


@app.command()
def worker(
    context: typer.Context,
    *,
    pool: Annotated[
        list[str] | None, typer.Option(metavar="POOL", help="Repeat it for several; both by default.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most runs at once in each pool.")] = None,
) -> None:
    """Run here what the server schedules, until Ctrl-C or SIGTERM: a worker of each pool, started again if it ends.

    Pool gpu gets what decodes or trains, pool cpu the rest. Runs that died with an earlier worker of this machine are
    taken up again at once.

        everlearn worker
        everlearn worker --pool gpu --limit 1
    """
    place: Place = context.obj
    pools = pool or POOLS
    with client_of(place) as client:
        from everlearn.orchestration.workers import check_process_pools, worker_command

        check_process_pools(client, pools)
        commands = {each: worker_command(each, limit=limit) for each in pools}
    tell(f"at work for {' and '.join(pools)}; Ctrl-C or SIGTERM ends it, and other workers take up what ran here")
    runs = RunRecords(folder=place.home / "runs")
    bury(place, runs, pending=True)
    with stopped() as stop:
        keep(commands, stop=stop, look=lambda: bury(place, runs, pending=False))
    bury(place, runs, pending=True)


def keep(
    commands: Mapping[str, list[str]], *, stop: threading.Event, look: Callable[[], None], every_s: float = LOOK_S
) -> None:
    """Have each command run until `stop`; one that ends by itself is started again. `look` is called now and then."""
    with ExitStack() as crew:
        running = {name: crew.enter_context(ending(words)) for name, words in commands.items()}
        while not stop.wait(every_s):
            look()
            for name, process in running.items():
                if process.poll() is not None:
                    tell(f"the worker of pool {name} has ended ({process.returncode}); starting it again")
                    running[name] = crew.enter_context(ending(commands[name]))
        look()
        tell("stopping")


@contextmanager
def ending(words: list[str], *, patience_s: float = PATIENCE_S) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, so that Ctrl-C reaches it by way of us, and ends it only once."""
    environ = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PREFECT_WORKER_QUERY_SECONDS": "5"} | os.environ
    with subprocess.Popen(words, env=environ, stdin=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(patience_s)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def stopped() -> Iterator[threading.Event]:
    """What is set by Ctrl-C and by SIGTERM."""
    stop = threading.Event()
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, lambda *_: stop.set()) for kind in kinds]
    try:
        yield stop
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


def bury(place: Place, runs: RunRecords, *, pending: bool) -> None:
    """Remember what runs here, and let the server know what does no longer. One that does not answer is told later."""
    runs.refresh()
    dead = runs.dead()
    if not dead:
        return
    try:
        with client_of(place) as client:
            from everlearn.orchestration.workers import mark_crashed

            for run in dead:
                name = mark_crashed(client, run, pending=pending)
                runs.delete(run)
                if name is not None:
                    tell(f"{name}: its process lives no longer")
    except ServiceError as error:
        tell(f"{error}; runs that died here are found there by their silence")
