"""`worker`: let this machine run what the server schedules."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from everlearn.cli.schedules import client_of
from everlearn.cli.screen import tell
from everlearn.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from everlearn.cli.place import Place

app = typer.Typer()
POOLS = ["cpu", "gpu"]
LOOK_S = 0.5
REST_S = 5.0
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
        from flows.workers import command, demand_pools

        demand_pools(client, pools)
        commands = {each: command(each, limit=limit) for each in pools}
    bury(place)
    tell(f"at work for {' and '.join(pools)}; Ctrl-C or SIGTERM ends it, and other workers take up what ran here")
    with stopped() as stop:
        keep(commands, stop=stop)
    bury(place)


def keep(commands: Mapping[str, list[str]], *, stop: threading.Event) -> None:
    """Have each command run until `stop`; one that ends by itself is started again, at most every few seconds."""
    with ExitStack() as crew:
        running = {name: crew.enter_context(ending(words)) for name, words in commands.items()}
        began = dict.fromkeys(running, time.monotonic())
        while not stop.wait(LOOK_S):
            for name, process in running.items():
                if process.poll() is not None and time.monotonic() - began[name] > REST_S:
                    tell(f"the worker of pool {name} has ended ({process.returncode}); starting it again")
                    running[name] = crew.enter_context(ending(commands[name]))
                    began[name] = time.monotonic()
        tell("stopping")


@contextmanager
def ending(words: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, so that Ctrl-C reaches it by way of us, and ends it only once."""
    environ = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PREFECT_WORKER_QUERY_SECONDS": "5"} | os.environ
    with subprocess.Popen(words, env=environ, stdin=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE_S)
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


def bury(place: Place) -> None:
    """Let the server know which runs have died with a worker of this machine."""
    try:
        with client_of(place) as client:
            from flows.workers import bury_dead

            for name in bury_dead(client):
                tell(f"{name}: its process lives no longer")
    except ServiceError as error:
        tell(f"{error}; what died here is found there by its silence")
