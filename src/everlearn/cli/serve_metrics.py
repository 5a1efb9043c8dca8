"""`metrics`: serve the metrics of a line to Prometheus."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everlearn.cli.output import print_note
from everlearn.cli.signals import stop_on_signal
from everlearn.errors import BadInputError

if TYPE_CHECKING:
    from everlearn.cli.context import Installation
    from everlearn.telemetry.prometheus import QueueStatus

app = typer.Typer()
TIMEOUT_S = 3.0


@app.command()
def metrics(
    context: typer.Context,
    *,
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port to listen on; 0 chooses a free one.")
    ] = 9108,
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve the metrics of a line to Prometheus, until Ctrl-C or SIGTERM.

    Each scrape reads S3, and Prefect if PREFECT_API_URL names a server, so a restart loses nothing. While S3 does not
    answer, `everlearn_up` is 0. infra/prometheus.yml and infra/grafana/ use these metrics.

        everlearn metrics --port 9108
        curl -s http://127.0.0.1:9108/metrics | grep everlearn_
    """
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    registry.register(collector(context.obj))
    try:
        server, _ = start_http_server(port, addr=host, registry=registry)
    except (OSError, OverflowError) as error:
        raise BadInputError(f"cannot listen on {host}, port {port} ({error}); choose another with --port") from None
    try:
        with stop_on_signal() as stop:
            print_note(f"metrics are at http://{host}:{server.server_port}/metrics")
            stop.wait()
    finally:
        server.shutdown()
        server.server_close()


def collector(installation: Installation) -> Any:
    """Return the Prometheus collector of the line, with the queue of Prefect if a server is configured."""
    from everlearn.registry.connect import open_registry, open_store
    from everlearn.telemetry.line_health import HealthReader
    from everlearn.telemetry.prometheus import CachedQuery, LineCollector

    installation.connect()
    settings = installation.settings()
    line = settings.store.line
    reader = HealthReader(open_registry(settings, store=open_store(settings.store, timeout_s=TIMEOUT_S)))
    queue = CachedQuery(lambda: queue_of(line)) if os.environ.get("PREFECT_API_URL") else None
    return LineCollector(line, health=CachedQuery(lambda: reader.read(now=datetime.now(tz=UTC))), queue=queue)


def queue_of(line: str) -> QueueStatus:
    """Return the waiting and running nights of the line in Prefect. ServiceError if it does not answer."""
    from everlearn.orchestration.api_client import connect
    from everlearn.orchestration.run_queue import read_queue

    with connect() as client:
        return read_queue(client, line=line)
