"""`domain list`, `new`, `check`, `certify`, `generate`: what is installed, a package for another one, trials, and problems."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from everlearn.cli.certify import certify
from everlearn.cli.output import Json, print_result, table
from everlearn.errors import BadInputError

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
app.command()(certify)


@app.callback()
def domain() -> None:
    """List domains, make one of your own, check that it keeps the contract in docs/domains.md, and generate problems.

    A domain says what a problem means
    and how an answer to it is judged.

        everlearn domain list
        everlearn domain generate gym/chain_sum --count 200 --size 3 --to problems.jsonl
        everlearn domain new capitals
        pip install -e capitals
        everlearn domain check capitals --problems capitals/problems.jsonl
        everlearn domain certify capitals --problems capitals/problems.jsonl
    """


@app.command("list")
def list_domains(*, json: Json = False) -> None:
    """Name the installed domains, and the tasks of those that are families, as settings and rows name them.

    everlearn domain list
    """
    from everlearn.domains.contract import known_domains, tasks_of
    from everlearn.errors import UnknownDomainError

    facts: list[dict[str, Any]] = []
    for name in known_domains():
        try:
            facts.append({"name": name, "tasks": tasks_of(name)})
        except UnknownDomainError as error:
            facts.append({"name": name, "tasks": (), "fault": str(error)})
        except Exception as error:  # noqa: BLE001 (one broken plug-in must not hide the others)
            fault = f"cannot be loaded: {type(error).__name__}: {error}; `everlearn domain check {name}` shows where"
            facts.append({"name": name, "tasks": (), "fault": fault})
    lines = [
        line for fact in facts for line in fact["tasks"] or (" ".join([fact["name"], fact.get("fault", "")]).strip(),)
    ]
    print_result(facts, as_json=json, text="\n".join(lines))


@app.command()
def generate(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the domain, such as gym/chain_sum.")],
    *,
    to: Annotated[Path, typer.Option(metavar="FILE", help="New file of JSON Lines.")],
    count: Annotated[int, typer.Option(min=1, help="Different problems to write.")] = 200,
    size: Annotated[int, typer.Option(min=1, help="Size of a problem, which the domain defines.")] = 1,
    seed: Annotated[int, typer.Option(help="Other seeds give other problems.")] = 0,
    suite: Annotated[
        str | None, typer.Option(metavar="NAME", help="Write a skill suite of this name, instead of rows for a night.")
    ] = None,
    json: Json = False,
) -> None:
    """Write new problems of a domain that has a generator: rows for a night, or a skill suite.

    A night leaves out of its ladder what a suite holds.
    An existing file is refused.

        everlearn domain generate gym/chain_sum --count 200 --size 3 --to problems.jsonl
        everlearn domain generate gym/chain_sum --suite short-sums --seed 1 --to data/suites/short-sums.jsonl
    """
    from everlearn.data.generated_problems import generate_problems, write_problems
    from everlearn.domains.contract import load_domain

    loaded = load_domain(name)
    problems = generate_problems(loaded, count=count, size=size, seed=seed)
    write_problems(problems, to, suite=suite)
    facts = {"file": str(to), "problems": len(problems), "first": problems[0].statement}
    print_result(
        facts, as_json=json, text=f"{to}: {len(problems)} problems of {name}, such as: {problems[0].statement}"
    )


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the domain, as settings and rows will call it.")],
    *,
    to: Annotated[Path | None, typer.Option(metavar="DIR", help="New folder of the package; by default NAME.")] = None,
    json: Json = False,
) -> None:
    """Write a package with a domain that works, its entry point, rows and tests, to be changed to what you need.

    An existing folder is refused, and so is the name of an installed domain.

        everlearn domain new capitals
    """
    from everlearn.domains.contract import known_domains
    from everlearn.domains.new_package import write_package

    if name in known_domains():
        raise BadInputError(
            f"a domain {name!r} is installed already: choose another name, since one of the two would hide the other"
        )
    folder = to or Path(name)
    written = write_package(name, folder)
    steps = [
        *(str(path) for path in written),
        "",
        f"pip install -e {shlex.quote(str(folder))}",
        f"everlearn domain check {name} --problems {shlex.quote(str(folder / 'problems.jsonl'))}",
        f"pytest {shlex.quote(str(folder))}",
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

    It does not attack the verifier, as `certify` does.
    Exit code 1: a law is broken.

        everlearn domain check arithmetic
        everlearn domain check capitals --problems capitals/problems.jsonl
    """
    from everlearn.domains.contract import load_domain
    from everlearn.domains.contract_laws import LAWS, check_domain, read_samples, samples_of

    loaded = load_domain(name)
    samples = samples_of(loaded) if problems is None else read_samples(loaded, problems)
    if not samples:
        raise BadInputError(
            f"{problems} holds no row: write one problem a line"
            if problems
            else f"domain {name} generates no problems: name a file of rows with --problems"
        )
    broken = {finding.law: finding.seen for finding in check_domain(loaded, samples, entry=name)}
    laws = [*LAWS, *(law for law in broken if law not in LAWS)]
    facts = [{"law": law, "ok": law not in broken, "seen": broken.get(law, "")} for law in laws]
    status = {True: Text("ok", style="green"), False: Text("broken", style="bold red")}
    rows = [(status[law not in broken], law, Text(broken.get(law, ""))) for law in laws]
    print_result(facts, as_json=json, text=table("", f"{name}, on {len(samples)} problems", "", rows=rows))
    if broken:
        raise typer.Exit(1)
