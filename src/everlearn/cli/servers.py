"""`up`, `down`, `site`, `doctor`: the local servers, the line as pages, and whether everything is as it must be."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from everlearn.cli.output import Json, answer, table, tell
from everlearn.local import laptop
from everlearn.local.postgres_url import VARIABLE

if TYPE_CHECKING:
    from everlearn.cli.context import Place

app = typer.Typer()
Export = Annotated[bool, typer.Option("--export", help="Print `export` lines for a shell instead.")]

Postgres = Annotated[
    str | None,
    typer.Option(metavar="URL", envvar=VARIABLE, show_default=False, help="Run Prefect on this Postgres, from now on."),
]
Sqlite = Annotated[bool, typer.Option("--sqlite", help="Run Prefect on SQLite again.", show_default=False)]


@app.command()
def up(
    context: typer.Context,
    *,
    postgres: Postgres = None,
    sqlite: Sqlite = False,
    export: Export = False,
    json: Json = False,
) -> None:
    """Start the local S3 server, Prefect with its dashboard, and the site of the line.

    Running servers are left alone, so this is safe at any time. Their data, logs and keys are in .everlearn/. SQLite is
    enough for one night at a time; for more, give Prefect an empty Postgres database, which is looked at before anything
    starts, and remembered.

        everlearn up
        eval "$(everlearn up --export)"    # dvc, aws and prefect in this shell find the servers, too
        EVERLEARN_POSTGRES=postgresql://prefect:secret@db.example/prefect everlearn up
    """
    place: Place = context.obj
    moved = place.choose_database(postgres, sqlite=sqlite)
    if moved is not None:
        tell(moved)
    tell("starting the local servers (the first start of Prefect takes 15 s)")
    bucket = place.settings().store.bucket
    site = place.site()
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(site.start)  # it needs no other server to begin with, and Prefect takes its time
        started = laptop.up(place.home, bucket=bucket)
        started[site.name] = beside.result()
    place.own_key()
    s3, prefect = laptop.servers(place.home, bucket=bucket)
    places = {"SeaweedFS": s3.endpoint_url, "Prefect": prefect.url, site.name: site.url}
    facts = {name: {"url": places[name], "started": started[name]} for name in started}
    if export:
        lines = (f"export {name}={value}" for name, value in sorted(laptop.environment(place.home).items()))
        typer.echo("\n".join(lines))
        return
    rows = [(name, places[name], "started" if new else "was running") for name, new in started.items()]
    answer(facts, as_json=json, shown=table("server", "where", "", rows=rows))


@app.command()
def down(context: typer.Context, *, json: Json = False) -> None:
    """Stop the local servers.

    What they keep stays in .everlearn/ and is there again after `everlearn up`.

    everlearn down
    """
    place: Place = context.obj
    site = place.site()
    stopped = {site.name: site.stop()} | laptop.down(place.home)
    rows = [(name, "stopped" if was else "was not running") for name, was in stopped.items()]
    answer(stopped, as_json=json, shown=table("server", "", rows=rows))


@app.command()
def site(
    context: typer.Context,
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write the pages; by default .everlearn/pages.")
    ] = None,
    nights: Annotated[int, typer.Option(min=1, help="How many of the newest nights have a page of their own.")] = 200,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve the pages on this port of 127.0.0.1 instead.")
    ] = None,
    json: Json = False,
) -> None:
    """Write the line as static pages: champion, timeline, nights, forgetting, cost.

    They need no server, no script and nothing from outside, so any web server can show them. Readers never see half of
    them: all are swapped in at once. `everlearn up` serves the same pages, always fresh.

        everlearn site --out public
        everlearn site --port 8080         # until Ctrl-C
    """
    place: Place = context.obj
    if port is not None:
        from everlearn.reporting.site.http_server import serve

        with contextlib.suppress(KeyboardInterrupt):
            serve(place.registry, port=port)
        return
    from everlearn.reporting.site.pages import Site

    where = out or place.home / "pages"
    pages = Site(place.registry(), nights=nights).build(where)
    answer({"site": str(where), "pages": pages}, as_json=json, shown=f"{len(pages)} pages in {where}")


@app.command()
def doctor(context: typer.Context, *, json: Json = False) -> None:
    """Check everything a night needs, and say for each thing amiss what to do about it.

    Writes and deletes one canary object, to prove that the S3 server keeps conditional writes. Ends with 1 if
    anything is amiss.

        everlearn doctor
    """
    from everlearn.cli.doctor import examine

    checks = examine(context.obj)
    facts = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks]
    signs = {True: Text("ok", style="green"), False: Text("amiss", style="bold red")}
    rows = [(signs[check.ok], check.name, check.detail) for check in checks]
    answer(facts, as_json=json, shown=table("", "what", "", rows=rows))
    if not all(check.ok for check in checks):
        raise typer.Exit(1)
