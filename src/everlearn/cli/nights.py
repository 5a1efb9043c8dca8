"""`cycle`, `ingest`, `verify`, `ladder`, `evaluate`: what a night does, as a whole and in parts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from everlearn.cli.screen import Json, answer, table, tell

if TYPE_CHECKING:
    from everlearn.cli.place import Place

app = typer.Typer()
ENDS_BADLY = {"REJECTED": 10, "INSUFFICIENT": 11}

Profile = Literal["quick", "nightly"]
Data = Annotated[Path | None, typer.Option(metavar="DIR", help="New problems; by default, what was handed in.")]
ProfileOption = Annotated[Profile | None, typer.Option(help="Overlay of params.yaml: minutes, or a whole night.")]
Version = Annotated[str, typer.Option(metavar="VERSION", help="v0001, champion or base.")]


@app.command()
def ingest(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A .jsonl file, or a directory of them.")],
    *,
    json: Json = False,
) -> None:
    """Hand in new problems for the next night.

    One JSON object a line: {"problem": "3*x^2 + sin(x)"}, with "id" and "domain" if you like. Every line is checked
    now; if too many are bad, nothing is handed in. What the night then accepts, it sees once.

        everlearn ingest problems.jsonl
    """
    from everlearn.cli.inbox import hand_in
    from everlearn.domains import load_domain

    place: Place = context.obj
    settings = place.settings()
    receipt = hand_in(
        path,
        inbox=place.inbox,
        domain=settings.domain,
        load=load_domain,
        max_bad_share=settings.ingest.max_bad_share,
    )
    rows = [("good", receipt.good), ("of these duplicates", receipt.duplicates), *receipt.faults.items()]
    answer(asdict(receipt), as_json=json, shown=table("rows", "", rows=rows))
    for example in receipt.examples:
        tell(f"quarantine: {example}")


@app.command()
def ladder(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A ladder that a night has kept, or problems to grow one below.")],
    *,
    version: Version = "base",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Keep the ladder that was grown.")] = None,
    json: Json = False,
) -> None:
    """Print a ladder as a tree: each problem with the share of its rollouts that were right.

    Given problems instead of a ladder, lets a model grow one below them first; that takes a minute.

        everlearn ladder ladder.jsonl
        everlearn ladder data/example --version champion --out ladder.jsonl
    """
    from everlearn.cli import model, tree
    from everlearn.ladder import load_ladder

    shown = load_ladder(file) if model.is_ladder(file) else model.grow_ladder(context.obj, file, version=version)
    if out is not None:
        shown.save(out)
    answer(tree.facts(shown), as_json=json, shown=tree.draw(shown))


@app.command()
def evaluate(
    context: typer.Context,
    *,
    version: Version,
    suite: Annotated[str, typer.Option(metavar="NAME|FILE", help="A suite of data/suites, or a file of problems.")],
    answers: Annotated[bool, typer.Option("--answers", help="Show every problem with its answer and verdict.")] = False,
    json: Json = False,
) -> None:
    """Measure a version on a suite: answer each problem once, greedily, and judge the answers.

    everlearn evaluate --version champion --suite skill
    everlearn evaluate --version base --suite problems.jsonl --answers
    """
    from everlearn.cli import model

    place: Place = context.obj
    chosen = model.suite_of(suite, domain=place.settings().domain)
    measured = model.evaluate(place, version=version, suite=chosen)
    facts = {"version": version, "suite": chosen.name, "suite_digest": chosen.digest} | model.summary(measured)
    rows = [(each.verdict.ruling, each.item, each.answer, each.verdict.reason) for each in measured]
    if answers:
        names = ("verdict", "item", "answer", "reason")
        facts["answers"] = [dict(zip(names, row, strict=True)) for row in rows]
        tell("\n".join("  ".join(map(str, row)) for row in rows))
    shown = table(
        "",
        "",
        rows=[
            (name, f"{value:.1%}" if name == "share" else value) for name, value in facts.items() if name != "answers"
        ],
    )
    answer(facts, as_json=json, shown=shown)
