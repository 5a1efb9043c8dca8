"""`domain new`, `domain check`, `domain certify`: write the package of a domain, and try it before a night trusts it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from everlearn.cli.certify import certify
from everlearn.cli.output import Json, print_result, table
from everlearn.errors import BadInputError

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
app.command()(certify)


@app.callback()
def domain() -> None:
    """Make a domain of your own, and check that it keeps the contract in docs/domains.md.

    A domain says what a problem means and how an answer to it is judged.

        everlearn domain new capitals
        pip install -e capitals
        everlearn domain check capitals --problems capitals/problems.jsonl
        everlearn domain certify capitals --problems capitals/problems.jsonl
    """


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the domain, as settings and rows will call it.")],
    *,
    to: Annotated[Path | None, typer.Option(metavar="DIR", help="New folder of the package; by default NAME.")] = None,
    json: Json = False,
) -> None:
    """Write a package with a domain that works, its entry point, three rows and tests, to be changed to what you need.

    An existing folder is refused.

        everlearn domain new capitals
    """
    from everlearn.domains.new_package import write_package

    folder = to or Path(name)
    written = write_package(name, folder)
    steps = [
        *(str(path) for path in written),
        "",
        f"pip install -e {folder}",
        f"everlearn domain check {name} --problems {folder / 'problems.jsonl'}",
        f"pytest {folder}",
    ]
    print_result({"files": [str(path) for path in written]}, as_json=json, text="\n".join(steps))


@app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the entry point, as in settings and rows.")],
    *,
    problems: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Rows to try it on, with an answer each that is right where you know one; without, it generates some.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Try a domain on problems, and name the laws of the contract that it breaks.

    It does not attack the verifier, as `certify` does. Exit code 1: a law is broken.

        everlearn domain check arithmetic
        everlearn domain check capitals --problems capitals.jsonl
    """
    from everlearn.domains.contract import load_domain
    from everlearn.domains.contract_laws import LAWS, check_domain, read_samples, samples_of

    loaded = load_domain(name)
    samples = samples_of(loaded) if problems is None else read_samples(loaded, problems)
    if not samples:
        raise BadInputError(f"domain {name} generates no problems: name a file of rows with --problems")
    broken = {finding.law: finding.seen for finding in check_domain(loaded, samples, entry=name)}
    laws = [*LAWS, *(law for law in broken if law not in LAWS)]
    facts = [{"law": law, "ok": law not in broken, "seen": broken.get(law, "")} for law in laws]
    status = {True: Text("ok", style="green"), False: Text("broken", style="bold red")}
    rows = [(status[law not in broken], law, Text(broken.get(law, ""))) for law in laws]
    print_result(facts, as_json=json, text=table("", f"{name}, on {len(samples)} problems", "", rows=rows))
    if broken:
        raise typer.Exit(1)
