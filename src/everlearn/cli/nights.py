"""`cycle`, `ingest`, `verify`, `ladder`, `evaluate`: what a night does, as a whole and in parts."""

from __future__ import annotations

import contextlib
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Group

from everlearn.cli.inbox import strays
from everlearn.cli.output import Json, answer, narrate, table, tell
from everlearn.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from everlearn.cli.context import Place

app = typer.Typer()
STOPPED = "stopped; the same command goes on where it was, and `everlearn cycle --abandon` gives the night up"
ENDS_BADLY = {"REJECTED": 10, "INSUFFICIENT": 11}

Profile = Literal["quick", "nightly"]
Data = Annotated[Path | None, typer.Option(metavar="DIR", help="New problems; by default, what was handed in.")]
ProfileOption = Annotated[Profile | None, typer.Option(help="Overlay of params.yaml: minutes, or a whole night.")]
Version = Annotated[str, typer.Option(metavar="VERSION", help="v0001, champion or base.")]


@app.command()
def cycle(
    context: typer.Context,
    *,
    data: Data = None,
    profile: ProfileOption = None,
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Give up a night that was cut short, and run none.")
    ] = False,
    json: Json = False,
) -> None:
    """Run one night: from new problems to a version that is provably better, or to a reason why not.

    Starts the local servers if none are set. Killed at any moment, the same command continues where it was; repeated,
    it says that nothing is new. Ends with 10 if the gate rejected the candidate, 11 if it could not tell.

        everlearn cycle --data data/example
        everlearn cycle --profile nightly --json
        everlearn cycle --abandon                    # where the same command cannot go on; its data stays available
    """
    place: Place = context.obj
    if abandon:
        given_up = abandoned(place)
        answer({"abandoned": given_up}, as_json=json, shown=f"abandoned: {given_up or 'no night is open'}")
        return
    tell("looking for the local servers (their first start takes 15 s)")
    place.start()
    told = None if data else strays(place.inbox.parent)
    if told is not None:
        tell(told)
    narrate()
    from flows.run_cycle import CycleConfig, run_cycle  # Prefect reads its environment when it is imported

    with stoppable():
        ended = run_cycle(
            CycleConfig(data=data.absolute() if data else place.inbox, settings=place.settings(profile=profile))
        )
    rows = [(name, ended[name]) for name in ("end", "version", "reason") if ended.get(name)]
    if ended["end"] == "PUBLISHED":
        rows += [("see the proof", f"everlearn report {ended['version']}")]
        if ended.get("waits_for") == "approval":
            rows += [("let it serve", f'everlearn approve {ended["version"]} --reason "…"')]
        else:
            rows += [("take it back", 'everlearn rollback --reason "…"')]
    answer(ended, as_json=json, shown=table("", "", rows=rows))
    raise typer.Exit(ENDS_BADLY.get(str(ended["end"]), 0))


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the command with a word of what comes next, and with the exit code of the shell."""

    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    handler = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        tell(STOPPED)
        raise SystemExit(128 + signal.SIGINT) from None
    except SystemExit:
        tell(STOPPED)
        raise
    finally:
        signal.signal(signal.SIGTERM, handler)


def abandoned(place: Place) -> str | None:
    """Close the open night of the line without an end; its key."""
    from everlearn.cycle.record import abandon_cycle
    from everlearn.registry.connect import open_store

    place.connect()
    chosen = place.settings().store
    found = abandon_cycle(open_store(chosen), chosen.line)
    return found.key if found else None


@app.command()
def verify(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="JSONL; - is standard input.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="The answer is JSON lines in any case.")] = True,  # noqa: ARG001
) -> None:
    """Judge answers: one JSON line out for each line in, in the same order.

    A line has "problem" and "answer" (or "integrand" and "antiderivative"), and "id" and "domain" if you like. Out come
    "id", "verdict" (CORRECT, WRONG or UNDECIDED) and "reason". Counts go to standard error. Ends with 2 if a line could
    not be understood; the others are judged all the same.

        everlearn verify answers.jsonl > verdicts.jsonl
        echo '{"problem": "2*x", "answer": "x^2 + 7"}' | everlearn verify -
    """
    from everlearn.domains.verification import verify_lines

    place: Place = context.obj
    with opened(file) as lines:
        told = verify_lines(lines, sys.stdout, domain=place.settings().domain)
    tell(f"{told.lines} lines: {told.correct} CORRECT, {told.wrong} WRONG, {told.undecided} UNDECIDED")
    if not told.is_clean:
        raise BadInputError(f"{told.unreadable} of them could not be understood; the reason stands in the line of each")


@app.command()
def ingest(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A .jsonl file, or a directory of them.")],
    *,
    bucket: Annotated[bool, typer.Option("--bucket", help="Where every worker finds them; a night begins.")] = False,
    json: Json = False,
) -> None:
    """Hand in new problems for the next night.

    One JSON object a line: {"problem": "3*x^2 + sin(x)"}, with "id" and "domain" if you like. Every line is checked
    now; if too many are bad, nothing is handed in. What the night then accepts, it sees once.

        everlearn ingest problems.jsonl
        everlearn ingest problems.jsonl --bucket    # below <line>/inbox/ in the bucket instead of on this machine
    """
    from everlearn.cli.inbox import hand_in
    from everlearn.domains.contract import load_domain

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
    if bucket:
        send(place, receipt.shards)


def send(place: Place, shards: tuple[Path, ...]) -> None:
    """Put shards into the bucket, where they replace those of this machine, and say so to the Prefect server."""
    from everlearn.orchestration.events_client import ARRIVED, emit
    from everlearn.registry.connect import open_store
    from everlearn.storage.objects import write_once

    place.connect()
    chosen = place.settings().store
    store = open_store(chosen)
    for shard in shards:
        write_once(store, f"{chosen.line}/inbox/{shard.name}", shard.read_bytes())
        shard.unlink()
    told = emit(ARRIVED, line=chosen.line, payload={"shards": len(shards)})
    tell("a night begins, if nights are deployed" if told else "no Prefect server was told: the next night finds them")


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
    from everlearn.cli import ladder_tree, model
    from everlearn.ladder.tree import load_ladder

    shown = load_ladder(file) if model.is_ladder(file) else model.grow_ladder(context.obj, file, version=version)
    if out is not None:
        shown.save(out)
    answer(ladder_tree.facts(shown), as_json=json, shown=ladder_tree.draw(shown))


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
    chosen = model.suite_of(suite, settings=place.settings())
    measured = model.evaluate(place, version=version, suite=chosen)
    facts = {"version": version, "suite": chosen.name, "suite_digest": chosen.digest} | model.summary(measured)
    rows = [(each.verdict.ruling, each.item, each.answer, each.verdict.reason) for each in measured]
    told = [(name, f"{value:.1%}" if name == "share" else value) for name, value in facts.items()]
    parts = [table("", "", rows=told)]
    if answers:
        names = ("verdict", "item", "answer", "reason")
        facts["answers"] = [dict(zip(names, row, strict=True)) for row in rows]
        parts.append(table(*names, rows=rows))
    answer(facts, as_json=json, shown=Group(*parts))


@contextlib.contextmanager
def opened(file: str) -> Iterator[BinaryIO]:
    """The bytes of a file, or of standard input for `-`. BadInputError if it cannot be opened."""
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        lines = Path(file).open("rb")  # noqa: SIM115 - closed below; what happens meanwhile is not ours to translate
    except OSError as error:
        raise BadInputError(
            f"{file} cannot be read ({error.strerror}); name a JSONL file, or - for standard input"
        ) from None
    with lines:
        yield lines
