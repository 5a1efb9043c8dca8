"""`solve`: problems that the model does not answer at once get samples, then a ladder of their own."""

from __future__ import annotations

import json as json_text
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everlearn.cli.nights import Version
from everlearn.cli.output import Json, print_note, print_result, progress_bar, table
from everlearn.errors import BadInputError, InvalidLineError
from everlearn.json_lines import parse_object

if TYPE_CHECKING:
    from everlearn.cli.context import Installation

app = typer.Typer()
BEGIN = b'{"domain": "'
"""How each line of the results begins."""


@app.command()
def solve(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Problems, one a line, as for a night.")],
    *,
    version: Version = "champion",
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Where results are added; what it holds is not tried again.")
    ] = Path("solved.jsonl"),
    seconds: Annotated[float, typer.Option(min=0.1, help="CPU seconds for each problem.")] = 20.0,
    rollouts: Annotated[int, typer.Option(min=0, help="Sampled completions for each problem; 0: any number.")] = 0,
    tokens: Annotated[int, typer.Option(min=0, help="Sampled tokens for each problem; 0: any number.")] = 0,
    samples: Annotated[int, typer.Option(min=1, help="Answers sampled before a ladder is grown.")] = 16,
    training: Annotated[
        bool, typer.Option("--training/--no-training", help="Grow a ladder and train, or only sample.")
    ] = True,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare/--no-compare",
            help="Also try best of n, and samples with a ladder, at as many rollouts as each problem took, beyond its "
            "budget.",
        ),
    ] = True,
    processes: Annotated[int, typer.Option(min=1, help="Problems that are worked on at the same time.")] = 1,
    offer: Annotated[
        bool, typer.Option("--offer", help="Offer what samples or training solved to the next night.")
    ] = False,
    json: Json = False,
) -> None:
    """Solve problems one by one, with more work for each than a night would give it.

    The version answers greedily, then by samples; where no answer is right, it grows a ladder for this one problem and
    trains an adapter on it, which is thrown away: the version is not changed. An answer is verified, and judged a
    second time where the domain can; otherwise the result says that there is none. Interrupted, the same command goes
    on after the problems that `--out` holds. After all solutions are there, each is compared with best of n on the
    untouched version, and with both together, at as many rollouts. This comes on top of the budget, and takes up to
    about three times as long as the solutions; `--no-compare` leaves it out, as does `--no-training`. `--offer` puts
    the problems that were solved by samples or by training into the line's inbox in the bucket, with their own
    reference where they have one. Exit code 1: not all problems were solved.

        everlearn solve unsolved.jsonl --seconds 60 --processes 4
        everlearn solve unsolved.jsonl --tokens 200000 --no-compare
        everlearn solve unsolved.jsonl --version base --no-training   # best of n
    """
    from everlearn.cli import model
    from everlearn.training.models.base_source import base_directory
    from everlearn.training.problem_file import distinct, problems_in
    from everlearn.training.solve_pool import rows_of
    from everlearn.training.solved_problems import keys_of, progress_of, summary
    from everlearn.training.solved_problems import offer as offer_solved
    from everlearn.training.test_time import Budget

    if out.is_dir() or any(each.is_file() for each in out.parents):
        raise BadInputError(f"{out} cannot be a file: name another one with --out")
    compares = compare and training
    installation: Installation = context.obj
    settings = model.pinned_settings(installation)
    problems = distinct(problems_in(file, settings=settings))
    base, adapter = base_directory(settings), model.adapter_of(installation, version=version)
    budget = Budget(cpu_seconds=seconds, rollouts=rollouts, tokens=tokens, samples=samples, trains=training)
    name = version if adapter is None else adapter.name
    identity = None if adapter is None else installation.registry().manifest(name).base_fingerprint
    keys = keys_of(problems, settings, budget, base=base, adapter=adapter)
    kept = _read(out)
    results = {text: kept[key] for text, known in keys.items() for key in known if key in kept}
    if results:
        print_note(f"{len(results)} of {len(problems)} problems are in {out}")
    given: dict[str, Any] = {
        "base": base,
        "adapter": adapter,
        "settings": settings,
        "budget": budget,
        "identity": identity,
        "verifiers": 1,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8") as lines, progress_bar(f"solving with {name}") as progress:
        own = {text: key for text, (_, key) in keys.items()}
        found = rows_of(problems, results, keys=own, version=name, compares=compares, processes=processes, **given)
        for problem, row in found:
            results[problem.key] = row
            lines.write(json_text.dumps(row, ensure_ascii=False) + "\n")
            lines.flush()
            progress(*progress_of(results.values(), problems=len(problems), compares=compares))
    rows = [results[problem.key] for problem in problems]
    facts = summary(rows) | {"version": name, "out": str(out)}
    if offer:
        facts["offered"] = offer_solved(installation.registry().store, settings.store.line, problems, rows)
    print_result(facts, as_json=json, text=table("", "", rows=[(each, str(value)) for each, value in facts.items()]))
    if facts["solved"] < facts["problems"]:
        raise typer.Exit(1)


def _read(out: Path) -> dict[str, dict[str, Any]]:
    """Return the newest result of each key in a file, after removing a last line that a kill cut short.

    Raises:
        BadInputError: it holds something else. The file is not changed.
    """
    rows: dict[str, dict[str, Any]] = {}
    whole, torn = out.read_bytes() if out.exists() else b"", b""
    for number, line in enumerate(whole.splitlines(keepends=True), start=1):
        try:
            row = parse_object(line)
            rows[row["key"]] = row
        except (InvalidLineError, KeyError, TypeError):
            if not line.endswith(b"\n") and (rows or line.startswith(BEGIN[: len(line)])):
                torn = line
                break
            raise BadInputError(
                f"{out}:{number} is no result of `everlearn solve`; name another file with --out, or remove that line"
            ) from None
    if torn:
        os.truncate(out, len(whole) - len(torn))
    elif whole and not whole.endswith(b"\n"):
        out.write_bytes(whole + b"\n")
    return rows
