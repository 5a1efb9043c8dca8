"""`pull`, `watch`, `replicas`: deliver versions to consumers, and show what each of them serves."""

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
from everlearn.cli.output import Json, print_note, print_result, stderr_console, table
from everlearn.registry.acknowledgements import acknowledge, check_consumer_name, forget_consumer
from everlearn.registry.acknowledgements import replicas as all_replicas
from everlearn.registry.delivery import Receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from everlearn.cli.context import Installation
    from everlearn.registry.versions import Registry
    from everlearn.serving.follow import ChampionChange

app = typer.Typer()
MIB = 1024**2
LARGE = 32 * MIB
"""Size in bytes from which a download shows its progress."""

Ref = Annotated[str, typer.Argument(metavar="VERSION", help="v0001, or champion.")]
Consumer = Annotated[
    str | None, typer.Option(metavar="NAME", help="Acknowledge the version in the store under this name.")
]


class Stopped(BaseException):
    """SIGTERM or Ctrl-C: ends `watch` without an error."""


@app.command()
def pull(
    context: typer.Context,
    version: Ref,
    *,
    to: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder for the adapter; replaced as a whole, after everything is verified."),
    ],
    at_least: Annotated[
        int | None, typer.Option(metavar="SEQ", min=0, help="Refuse a history with fewer events than this.")
    ] = None,
    consumer: Consumer = None,
    json: Json = False,
) -> None:
    """Fetch the adapter of a version, verify every byte against its digest, and replace DIR at once.

    After an interruption the same command resumes; repeated, it changes nothing. DIR/everlearn.json records the length
    of the history, so that later pulls refuse an older one; `--at-least` does the same for the first pull.
    `peft.PeftModel.from_pretrained(base, DIR)` loads the adapter.

        everlearn pull champion --to adapter
        everlearn pull v0007 --to adapter --at-least 12 --consumer web-1
    """
    installation: Installation = context.obj
    if consumer:
        check_consumer_name(consumer)
    registry = installation.registry()
    name = registry.resolve(version).version
    with download_progress(registry, name) as report:
        path = registry.pull(name, to=to, at_least=at_least, progress=report)
    if registry.cached_state.versions[name].barred:
        print_note(
            f"{name} is barred: it was rolled back or refused, so do not serve it; `everlearn status` names the champion"
        )
    receipt = Receipt.of(path)
    sequence = receipt.sequence if receipt else 0
    if consumer:
        acknowledge(registry, consumer=consumer, version=name, sequence=sequence, at=now())
    facts = {
        "version": name,
        "to": str(path),
        "files": sorted(file.name for file in path.iterdir()),
        "sequence": sequence,
    }
    print_result(facts, as_json=json, text=f"{name} is in {path}")


@app.command()
def watch(
    context: typer.Context,
    *,
    to: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder that gets a folder for each version, and the link `current`.")
    ],
    exec_: Annotated[
        str | None,
        typer.Option(
            "--exec", metavar="CMD", help="Command to run after each change, with EVERLEARN_VERSION and EVERLEARN_PATH."
        ),
    ] = None,
    interval: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="Seconds between checks.")] = 10.0,
    consumer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name for acknowledgements; by default this host's, '' for none.")
    ] = None,
    keep: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Keep only the newest N folders; by default all.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Check once and end with the exit code of CMD.")] = False,
    json: Json = False,
) -> None:
    """Follow the champion: deliver each new one into a folder of its own, and run a command.

    Folders are never changed, so that a server can load DIR/v0008 while it serves DIR/v0007. CMD is a program and its
    arguments, without a shell; it runs once per change, and its output goes to standard error. If the champion is the
    base model, EVERLEARN_VERSION is `base` and EVERLEARN_PATH is empty. While the store does not answer, the command
    retries. SIGTERM ends it together with CMD.

        everlearn watch --to adapters --exec './reload.sh'
        everlearn watch --to adapters --once --json
    """
    from everlearn.serving.follow import Follower, follow

    installation: Installation = context.obj
    follower = Follower(
        installation.registry(),
        to,
        now=now,
        command=exec_,
        consumer=socket.gethostname() if consumer is None else consumer or None,
        keep=keep,
    )
    with end_on_signal():
        if once:
            change = follower.step()
            print_result(change_facts(change), as_json=json, text=change_sentence(change))
            raise typer.Exit(
                0 if change is None else change.exit_code if change.exit_code >= 0 else 128 - change.exit_code
            )
        print_note(f"following the champion of line {installation.settings().store.line} in {to}")

        def report(news: ChampionChange | str) -> None:
            if isinstance(news, str):
                print_note(news)
            else:
                print_result(change_facts(news), as_json=json, text=change_sentence(news))

        follow(follower.step, pause=lambda: time.sleep(interval), report=report)


@app.command()
def replicas(
    context: typer.Context,
    *,
    forget_: Annotated[
        str | None, typer.Option("--forget", metavar="NAME", help="Remove a consumer that no longer exists.")
    ] = None,
    json: Json = False,
) -> None:
    """Show the version that each consumer acknowledged last, and whether it is behind the champion.

    `serve`, `watch`, and `pull --consumer`, acknowledge a version after they have delivered it. The exit code is 0 even
    if a consumer is behind.

        everlearn replicas
        everlearn replicas --forget old-host
    """
    installation: Installation = context.obj
    registry = installation.registry()
    if forget_:
        forget_consumer(registry, forget_)
    known = all_replicas(registry)
    facts = [formatting.replica_facts(replica) for replica in known]
    text: Any = "no consumer has acknowledged a version; `everlearn watch` does, and `everlearn pull … --consumer NAME`"
    if known:
        text = table(
            "consumer",
            "serves",
            "manifest",
            "events seen",
            "acknowledged (UTC)",
            "",
            rows=map(formatting.replica_row, known),
        )
    print_result(facts, as_json=json, text=text)


def now() -> datetime:
    """Return the current time in UTC, for acknowledgements."""
    return datetime.now(tz=UTC)


def change_facts(change: ChampionChange | None) -> dict[str, Any]:
    """Return a change of the champion for programs; None if there was none."""
    if change is None:
        return {"changed": False, "version": None, "path": None, "exit": None}
    path = None if change.path is None else str(change.path)
    return {"changed": True, "version": change.version, "path": path, "exit": change.exit_code}


def change_sentence(change: ChampionChange | None) -> str:
    """Return a change of the champion for people."""
    if change is None:
        return "nothing has changed"
    what = f"{change.version} is in {change.path}" if change.path else "the base model alone serves"
    return what + (
        f"; the command failed ({change.exit_code}), so this is not acknowledged" if change.exit_code else ""
    )


@contextlib.contextmanager
def end_on_signal() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C end the block with a note and without an error."""

    def stop(number: int, _: object) -> None:
        raise Stopped(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except Stopped as stopped:
        print_note(f"stopped by {stopped}; what was delivered stays")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def download_progress(registry: Registry, version: str) -> Iterator[Callable[[int], None] | None]:
    """Show the progress of a large download, and yield the function that adds bytes to it; None for a small one."""
    total = sum(ref.size for ref in registry.manifest(version).files.values())
    if total < LARGE:
        yield None
        return
    print_note(f"fetching {version}: {total / MIB:.0f} MiB")
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=stderr_console(), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(version, total=total)
        yield lambda received: progress.advance(task, received)
