"""`pull`, `watch`, `replicas`: how versions reach those that serve them, and how they say that they do."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everlearn.cli import formatting
from everlearn.cli.output import Json, answer, errors, table, tell
from everlearn.registry.acknowledgements import acknowledge, check_consumer_name, forget_consumer
from everlearn.registry.acknowledgements import replicas as all_replicas
from everlearn.registry.delivery import Receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from everlearn.cli.context import Place
    from everlearn.registry.versions import Registry
    from everlearn.serving.follow import ChampionChange

app = typer.Typer()
MIB = 1024**2
LARGE = 32 * MIB

Ref = Annotated[str, typer.Argument(metavar="VERSION", help="v0001, or champion.")]
Consumer = Annotated[
    str | None, typer.Option(metavar="NAME", help="Say in the store, under this name, what is served here now.")
]


class Stopped(BaseException):
    """Somebody asked this process to end."""


@app.command()
def pull(
    context: typer.Context,
    version: Ref,
    *,
    to: Annotated[Path, typer.Option(metavar="DIR", help="Replaced as a whole, once everything is verified.")],
    at_least: Annotated[
        int | None, typer.Option(metavar="SEQ", min=0, help="Refuse a history with fewer events than this.")
    ] = None,
    consumer: Consumer = None,
    json: Json = False,
) -> None:
    """Fetch a version's adapter, check every byte against its digest, and put it in place at once.

    Cut short, the same command goes on where it was; repeated, it changes nothing. DIR remembers in everlearn.json how
    far the history had come, so that an older one is refused from then on; `--at-least` says so to the first pull.
    `peft.PeftModel.from_pretrained(base, DIR)` loads it as it is.

        everlearn pull champion --to adapter
        everlearn pull v0007 --to adapter --at-least 12 --consumer web-1
    """
    place: Place = context.obj
    if consumer:
        check_consumer_name(consumer)
    registry = place.registry()
    name = registry.resolve(version).version
    with progress_of(registry, name) as arrived:
        where = registry.pull(name, to=to, at_least=at_least, progress=arrived)
    held = Receipt.of(where)
    sequence = held.sequence if held else 0
    if consumer:
        acknowledge(registry, consumer=consumer, version=name, sequence=sequence, at=now())
    facts = {
        "version": name,
        "to": str(where),
        "files": sorted(path.name for path in where.iterdir()),
        "sequence": sequence,
    }
    answer(facts, as_json=json, shown=f"{name} is in {where}")


@app.command()
def watch(
    context: typer.Context,
    *,
    to: Annotated[Path, typer.Option(metavar="DIR", help="Gets a folder for each version, and the link `current`.")],
    exec_: Annotated[
        str | None,
        typer.Option("--exec", metavar="CMD", help="Run at every change, with EVERLEARN_VERSION and EVERLEARN_PATH."),
    ] = None,
    interval: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="How often to look.")] = 10.0,
    consumer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who says what is served; by default this host, '' for nobody.")
    ] = None,
    keep: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Keep only the newest N folders; by default all.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once and end, with CMD's exit code.")] = False,
    json: Json = False,
) -> None:
    """Follow the champion: deliver each change into a folder of its own, and tell a command.

    Folders are never written again, so that a server loads DIR/v0008 while DIR/v0007 still serves. CMD is a program and
    its arguments, without a shell; it runs once a change, and its output goes to standard error. While the base model
    alone serves, EVERLEARN_VERSION is `base` and EVERLEARN_PATH empty. An outage of the store is waited out. SIGTERM
    ends the watch, and CMD with it.

        everlearn watch --to adapters --exec './reload.sh'
        everlearn watch --to adapters --once --json
    """
    from everlearn.serving.follow import Follower, follow

    place: Place = context.obj
    follower = Follower(
        place.registry(),
        to,
        now=now,
        command=exec_,
        consumer=socket.gethostname() if consumer is None else consumer or None,
        keep=keep,
    )
    with stoppable():
        if once:
            change = follower.step()
            answer(of_change(change), as_json=json, shown=sentence(change))
            raise typer.Exit(
                0 if change is None else change.exit_code if change.exit_code >= 0 else 128 - change.exit_code
            )
        tell(f"following the champion of line {place.settings().store.line} in {to}")

        def say(what: ChampionChange | str) -> None:
            if isinstance(what, str):
                tell(what)
            else:
                answer(of_change(what), as_json=json, shown=sentence(what))

        follow(follower.step, pause=lambda: time.sleep(interval), report=say)


@app.command()
def replicas(
    context: typer.Context,
    *,
    forget_: Annotated[
        str | None, typer.Option("--forget", metavar="NAME", help="Remove a consumer that is no more.")
    ] = None,
    json: Json = False,
) -> None:
    """Show which version each consumer has acknowledged last, and whether it is behind the champion.

    Consumers acknowledge when `watch`, or `pull` with a name, has delivered to them. Ends with 0 also where one is behind.

        everlearn replicas
        everlearn replicas --forget old-host
    """
    place: Place = context.obj
    registry = place.registry()
    if forget_:
        forget_consumer(registry, forget_)
    found = all_replicas(registry)
    facts = [
        {
            "consumer": each.consumer,
            "behind": each.behind,
            "version": None,
            "manifest": None,
            "sequence": None,
            "at": None,
        }
        | ({} if each.acknowledged is None else formatting.of_acknowledgement(each.acknowledged))
        for each in found
    ]
    shown: Any = "no consumer has said what it serves; `everlearn watch` does, and `everlearn pull … --consumer NAME`"
    if found:
        shown = table(
            "consumer", "serves", "manifest", "events seen", "said at (UTC)", "", rows=map(formatting.of_replica, found)
        )
    answer(facts, as_json=json, shown=shown)


def now() -> datetime:
    """The time of day, for acknowledgements."""
    return datetime.now(tz=UTC)


def of_change(change: ChampionChange | None) -> dict[str, Any]:
    """What one look found, as facts."""
    if change is None:
        return {"changed": False, "version": None, "path": None, "exit": None}
    path = None if change.path is None else str(change.path)
    return {"changed": True, "version": change.version, "path": path, "exit": change.exit_code}


def sentence(change: ChampionChange | None) -> str:
    """The same for people."""
    if change is None:
        return "nothing has changed"
    what = f"{change.version} is in {change.path}" if change.path else "the base model alone serves"
    return what + (
        f"; the command failed ({change.exit_code}), so this is not acknowledged" if change.exit_code else ""
    )


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C end what is in here with a word, and without an error."""

    def stop(number: int, _: object) -> None:
        raise Stopped(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except Stopped as stopped:
        tell(f"stopped by {stopped}; what was delivered stays")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def progress_of(registry: Registry, version: str) -> Iterator[Callable[[int], None] | None]:
    """For a large version: a bar at a terminal, else one line; None for a small one."""
    total = sum(ref.size for ref in registry.manifest(version).files.values())
    if total < LARGE:
        yield None
        return
    tell(f"fetching {version}: {total / MIB:.0f} MiB")
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=errors(), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(version, total=total)
        yield lambda arrived: progress.advance(task, arrived)
