"""`metrics`: how a line is doing, for Prometheus."""

from __future__ import annotations

import os
import signal
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everlearn.cli.output import tell
from everlearn.errors import BadInputError

if TYPE_CHECKING:
    from everlearn.cli.context import Place
    from everlearn.telemetry.prometheus import QueueStatus

app = typer.Typer()
TIMEOUT_S = 3.0


@app.command()
def metrics(
    context: typer.Context,
    *,
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="Where to listen; 0 draws one.")] = 9108,
    host: Annotated[str, typer.Option(metavar="HOST", help="On which address.")] = "127.0.0.1",
) -> None:
    """Serve the metrics of a line to Prometheus, until it is stopped.

    All of it is read anew from S3, and from Prefect where PREFECT_API_URL names a server: a restart loses nothing. While S3
    is away, a scrape says `everlearn_up 0`. infra/prometheus.yml and infra/grafana/ are made for it.

        everlearn metrics --port 9108
        curl -s http://127.0.0.1:9108/metrics | grep everlearn_
    """
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    registry.register(collector(context.obj))
    try:
        server, _ = start_http_server(port, addr=host, registry=registry)
    except (OSError, OverflowError) as error:
        raise BadInputError(
            f"nothing can listen on {host}, port {port} ({error}); choose another with --port"
        ) from None
    stopped = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        tell(f"metrics are at http://{host}:{server.server_port}/metrics")
        stopped.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        server.shutdown()
        server.server_close()


def collector(place: Place) -> Any:
    """What is asked at every scrape: the line of the settings, and Prefect if a server is named."""
    from everlearn.registry.connect import open_registry, open_store
    from everlearn.telemetry.line_health import HealthReader
    from everlearn.telemetry.prometheus import CachedQuery, LineCollector

    place.connect()
    settings = place.settings()
    line = settings.store.line
    reader = HealthReader(open_registry(settings, store=open_store(settings.store, timeout_s=TIMEOUT_S)))
    queue = CachedQuery(lambda: queue_of(line)) if os.environ.get("PREFECT_API_URL") else None
    return LineCollector(line, health=CachedQuery(lambda: reader.read(now=datetime.now(tz=UTC))), queue=queue)


def queue_of(line: str) -> QueueStatus:
    """What Prefect says of the line's nights. ServiceError if it does not answer."""
    from everlearn.orchestration.api_client import connect
    from everlearn.orchestration.run_queue import read_queue  # Prefect is imported when it is asked first

    with connect() as client:
        return read_queue(client, line=line)
