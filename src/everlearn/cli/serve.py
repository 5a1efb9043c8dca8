"""`serve`: the champion behind an OpenAI-compatible endpoint, and what it could not solve in the inbox of the next night."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import traceback
from functools import partial
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from everlearn.cli.consumers import end_on_signal, now
from everlearn.cli.output import print_note
from everlearn.errors import BadInputError, EverlearnError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from everlearn.cli.context import Installation
    from everlearn.serving.champion_loader import ChampionLoader
    from everlearn.serving.engine import Engine
    from everlearn.serving.served_version import ServedVersion
    from everlearn.serving.unsolved import UnsolvedProblems
    from everlearn.settings import Settings

app = typer.Typer()
T = TypeVar("T")
KEYS = "EVERLEARN_API_KEYS"
KEEP_ALIVE_S, SHUTDOWN_S = 5, 30
"""Seconds that an idle connection stays open, and that requests in flight have when the command ends."""
RECONNECT_S = 60.0
"""Seconds between two attempts to use a vLLM server again that was lost. Without any server they follow at each look."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@app.command()
def serve(
    context: typer.Context,
    *,
    version: Annotated[
        str, typer.Option(metavar="VERSION", help="champion is followed; v0001 or base stays.")
    ] = "champion",
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port to listen on; 0 chooses a free one.")
    ] = 8000,
    interval: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="Seconds between two looks at the champion.")
    ] = 5.0,
    consumer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name for acknowledgements; by default this host's, '' for none.")
    ] = None,
    collect: Annotated[
        bool, typer.Option("--collect", help="Put problems that were not solved into the inbox of the next night.")
    ] = False,
    per_hour: Annotated[
        int, typer.Option(metavar="N", min=1, help="With --collect: at most so many problems of each API key an hour.")
    ] = 100,
) -> None:
    """Serve the champion behind an OpenAI-compatible endpoint, until Ctrl-C or SIGTERM.

    A message that is a problem of the line's domain is asked as in training; a chat model takes any conversation. Each
    answer names version and manifest. A promotion or rollback takes over between two batches of requests, and none is
    dropped. The model is the one of the settings, on their device. With `rollouts.engine: vllm` it is decoded by vLLM:
    by `rollouts.servers`, or by a server that this command starts.

    EVERLEARN_API_KEYS holds the API keys, separated by commas. They are needed for --collect, and to listen on another
    address than loopback. Collected is what the verifier does not accept, and what a caller says was no help (`POST
    /v1/feedback`). The next night reads it like any row.

        everlearn serve
        EVERLEARN_API_KEYS=$KEY everlearn serve --host 0.0.0.0 --collect
    """
    keys = tuple(key for part in os.environ.get(KEYS, "").split(",") if (key := part.strip()))
    if not keys and (collect or host not in LOOPBACK):
        need = "--collect" if collect else f"--host {host}"
        raise BadInputError(f"{need} needs API keys: set {KEYS} to one or more, separated by commas")
    with _listen(host, port) as listener:
        _serve(
            context.obj,
            listener,
            version=version,
            interval=interval,
            consumer=consumer,
            keys=keys,
            per_hour=per_hour if collect else 0,
        )


def _serve(
    installation: Installation,
    listener: socket.socket,
    *,
    version: str,
    interval: float,
    consumer: str | None,
    keys: tuple[str, ...],
    per_hour: int,
) -> None:
    """Load the version, and serve until the process is stopped. Problems are collected unless `per_hour` is 0."""
    from everlearn.cli import model
    from everlearn.reporting.site.http_server import create_server
    from everlearn.serving.endpoint import create_endpoint
    from everlearn.serving.engine import Engine

    settings = model.pinned_settings(installation)
    line, name = settings.store.line, socket.gethostname() if consumer is None else consumer or None
    served, loader = _first(installation, settings, version=version, consumer=name)
    with _collecting(installation, settings, per_hour=per_hour) as unsolved:
        engine, stopped = Engine(served), threading.Event()
        follower = threading.Thread(
            target=_follow,
            args=(engine, loader, unsolved),
            kwargs={"stopped": stopped, "interval": interval},
            daemon=True,
        )
        follower.start()
        host, port = listener.getsockname()[:2]
        address = f"[{host}]" if ":" in host else host
        print_note(f"{line}/{served.version} serves at http://{address}:{port}/v1")
        try:
            app = create_endpoint(engine, line=line, keys=keys, unsolved=unsolved)
            with end_on_signal():
                create_server(app, keep_alive_s=KEEP_ALIVE_S, shutdown_s=SHUTDOWN_S).run(sockets=[listener])
        finally:
            stopped.set()
            follower.join(SHUTDOWN_S)  # it may be waiting for a server that hangs
            engine.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise BadInputError(f"cannot listen on {host}, port {port} ({error}); choose another with --port") from None


def _first(
    installation: Installation, settings: Settings, *, version: str, consumer: str | None
) -> tuple[ServedVersion, ChampionLoader | None]:
    """Return the version that serves first, and what loads the champions after it; None for a fixed version, if it is not barred."""
    from everlearn.cli import model
    from everlearn.registry.eligibility import require_unbarred
    from everlearn.registry.line_state import BASE
    from everlearn.serving.champion_loader import ChampionLoader
    from everlearn.serving.served_version import load_version
    from everlearn.training.models.base_source import base_directory

    base = base_directory(settings)

    def load(name: str, adapter: Path | None, manifest: str | None) -> ServedVersion:
        model.require_base(installation, base, version=name)
        return load_version(base, adapter, version=name, manifest=manifest, settings=settings)

    if version != "champion":
        manifest = None
        if version != BASE:
            registry = installation.registry()
            entry = registry.resolve(version)
            require_unbarred(entry, registry.cached_state)
            manifest = entry.manifest
        adapter = model.adapter_of(installation, version=version)
        return load(adapter.name if adapter else version, adapter, manifest), None
    registry = installation.registry()
    folder = model.versions_folder(installation, registry.line)
    loader = ChampionLoader(registry, folder=folder, load=load, now=now, consumer=consumer)
    first: list[ServedVersion] = []
    try:
        loader.step(first.append)
    except BaseException:
        for served in first:  # it was loaded, and could not be acknowledged
            served.close()
        raise
    return first[0], loader


@contextlib.contextmanager
def _collecting(installation: Installation, settings: Settings, *, per_hour: int) -> Iterator[UnsolvedProblems | None]:
    """Yield the collection of unsolved problems, judged by a process of its own, and write what is left at the end."""
    if not per_hour:
        yield None
        return
    from everlearn.domains.contract import load_domain
    from everlearn.domains.pool import VerifierPool
    from everlearn.serving.unsolved import UnsolvedProblems, collecting_alone

    line = settings.store.line
    waiting = installation.home.absolute() / "serving" / f"{line}.jsonl"
    with collecting_alone(waiting), VerifierPool(settings.domain, workers=1) as pool:
        unsolved = UnsolvedProblems(
            installation.registry().store,
            line,
            domain=load_domain(settings.domain),
            judge=pool.verify_many,
            waiting=waiting,
            per_hour=per_hour,
        )
        yield unsolved
        unsolved.flush()


def _follow(
    engine: Engine,
    loader: ChampionLoader | None,
    unsolved: UnsolvedProblems | None,
    *,
    stopped: threading.Event,
    interval: float,
) -> None:
    """Follow the champion, and write what was collected, until `stopped`. Each error is reported once until it is gone."""
    shown: dict[str, str] = {}
    tried = time.monotonic()
    while not stopped.wait(interval):
        if loader is not None:
            served = _try("following", partial(loader.step, engine.use), shown)
            if served is not None:
                print_note(f"{served.version} serves now")
        is_time = not engine.served.can_answer or time.monotonic() - tried >= RECONNECT_S
        if engine.served.servers_lost and is_time:
            _try("reconnecting", partial(_reconnect, engine), shown)
            tried = time.monotonic()
        if unsolved is not None:
            _try("collecting", unsolved.flush_if_due, shown)


def _reconnect(engine: Engine) -> None:
    """Load the version once more, if a vLLM server that was lost is there again, or one of our own has to be started."""
    from everlearn.training.engines.vllm_server import is_healthy

    served = engine.served
    if not served.can_answer or any(map(is_healthy, served.servers_lost)):
        engine.use(served.reload())


def _try(what: str, act: Callable[[], T | None], shown: dict[str, str]) -> T | None:
    """Return the result of an action, or None after reporting its error."""
    try:
        result = act()
    except Exception as error:  # noqa: BLE001 - also one that is not foreseen must not end the thread
        if shown.get(what) != str(error):
            print_note(f"{what}: {_said(error)} (tried again; what serves stays)")
        shown[what] = str(error)
        return None
    shown.pop(what, None)
    return result


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, EverlearnError) else "".join(traceback.format_exception(error))
