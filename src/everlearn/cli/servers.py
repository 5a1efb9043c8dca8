"""`up`, `down`, `site`, `doctor`: local servers, the pages of a line, and checks of this machine."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from everlearn.cli.output import Json, print_note, print_result, table
from everlearn.local import laptop
from everlearn.local.postgres_url import VARIABLE

if TYPE_CHECKING:
    from everlearn.cli.context import Installation

app = typer.Typer()
Export = Annotated[bool, typer.Option("--export", help="Print `export` lines for a shell instead.")]

Postgres = Annotated[
    str | None,
    typer.Option(
        metavar="URL", envvar=VARIABLE, show_default=False, help="Use this Postgres for Prefect, from now on."
    ),
]
Gpu = Annotated[bool, typer.Option("--gpu", help="Check the GPU and who decodes on it, too.", show_default=False)]
Sqlite = Annotated[bool, typer.Option("--sqlite", help="Use SQLite for Prefect again.", show_default=False)]


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

    Running servers are not changed, so this is safe at any time. Their data, logs and keys are in .everlearn/. SQLite
    is enough for one night at a time; for more, give Prefect an empty Postgres database. It is checked before anything
    starts, and used from then on.

        everlearn up
        eval "$(everlearn up --export)"    # for dvc, aws and prefect in this shell
        EVERLEARN_POSTGRES=postgresql://prefect:secret@db.example/prefect everlearn up
    """
    installation: Installation = context.obj
    moved = installation.choose_database(postgres, sqlite=sqlite)
    if moved is not None:
        print_note(moved)
    print_note("starting the local servers (the first start of Prefect takes 15 s)")
    bucket = installation.settings().store.bucket
    site = installation.site()
    with ThreadPoolExecutor(1) as pool:
        site_started = pool.submit(site.start)  # in parallel: it needs no other server, and Prefect takes seconds
        started = laptop.up(installation.home, bucket=bucket)
        started[site.name] = site_started.result()
    installation.create_key()
    s3, prefect = laptop.servers(installation.home, bucket=bucket)
    urls = {"SeaweedFS": s3.endpoint_url, "Prefect": prefect.url, site.name: site.url}
    facts = {name: {"url": urls[name], "started": started[name]} for name in started}
    if export:
        lines = (f"export {name}={value}" for name, value in sorted(laptop.environment(installation.home).items()))
        typer.echo("\n".join(lines))
        return
    rows = [(name, urls[name], "started" if new else "was running") for name, new in started.items()]
    print_result(facts, as_json=json, text=table("server", "where", "", rows=rows))


@app.command()
def down(context: typer.Context, *, json: Json = False) -> None:
    """Stop the local servers.

    Their data remains in .everlearn/ for the next `everlearn up`.

    everlearn down
    """
    installation: Installation = context.obj
    site = installation.site()
    stopped = {site.name: site.stop()} | laptop.down(installation.home)
    rows = [(name, "stopped" if was else "was not running") for name, was in stopped.items()]
    print_result(stopped, as_json=json, text=table("server", "", rows=rows))


@app.command()
def site(
    context: typer.Context,
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the pages; by default .everlearn/pages.")
    ] = None,
    nights: Annotated[int, typer.Option(min=1, help="Number of newest nights that get a page.")] = 200,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve the pages on this port of 127.0.0.1 instead.")
    ] = None,
    json: Json = False,
) -> None:
    """Write static pages about the line: champion, timeline, nights, forgetting, cost.

    The pages have no scripts and no external resources, so any web server can serve them. All are replaced at once.
    `everlearn up` serves the same pages, always current.

        everlearn site --out public
        everlearn site --port 8080         # until Ctrl-C
    """
    installation: Installation = context.obj
    if port is not None:
        from everlearn.reporting.site.http_server import serve

        with contextlib.suppress(KeyboardInterrupt):
            serve(installation.registry, port=port)
        return
    from everlearn.reporting.site.pages import Site

    where = out or installation.home / "pages"
    pages = Site(installation.known_registry(), nights=nights).build(where)
    print_result({"site": str(where), "pages": pages}, as_json=json, text=f"{len(pages)} pages in {where}")


@app.command()
def doctor(context: typer.Context, *, gpu: Gpu = False, json: Json = False) -> None:
    """Check everything that a night needs, and print a remedy for each problem.

    Writes and deletes one probe object, to verify that the S3 server supports conditional writes. Exit code 1: there is
    a problem.

        everlearn doctor

        everlearn doctor --gpu      # on a worker of the pool gpu
    """
    from everlearn.cli.doctor import run_checks

    checks = run_checks(context.obj, gpu=gpu)
    facts = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks]
    status = {True: Text("ok", style="green"), False: Text("problem", style="bold red")}
    rows = [(status[check.ok], check.name, check.detail) for check in checks]
    print_result(facts, as_json=json, text=table("", "what", "", rows=rows))
    if not all(check.ok for check in checks):
        raise typer.Exit(1)
