"""`cycle`, `ingest`, `verify`, `ladder`, `evaluate`: run a night, or one part of it."""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import signal
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group

from everlearn.cli.exit_codes import EXIT_CODES
from everlearn.cli.inbox import misplaced_shards
from everlearn.cli.output import Json, Profile, log_to_stderr, print_note, print_result, table
from everlearn.cli.schedule import prefect_client
from everlearn.errors import BadInputError
from everlearn.registry.night_lookup import SHOWN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from everlearn.cli.context import Installation
    from everlearn.settings import Settings

app = typer.Typer()
STOPPED = "stopped; the same command resumes the night, and `{} cycle --abandon` gives it up"
CHARGED = (
    "its candidate was measured, which is a test, so INSUFFICIENT was recorded: a night with the same data, parent and settings is "
    "SKIPPED now. Another one begins with"
)
Data = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="New problems; by default those in the inbox, here and in the bucket."),
]
Version = Annotated[str, typer.Option(metavar="VERSION", help="v0001, champion or base.")]


@app.command()
def cycle(
    context: typer.Context,
    *,
    data: Data = None,
    profile: Profile = None,
    again: Annotated[
        bool, typer.Option("--again", help="Read problems again that published nights have seen.")
    ] = False,
    abandon: Annotated[bool, typer.Option("--abandon", help="Give up an interrupted night, and run none.")] = False,
    json: Json = False,
) -> None:
    """Run one night: from new problems to a version that is provably better, or to the reason why there is none.

    Starts the local servers unless the settings name others. After an interruption the same command resumes the night;
    repeated, it reports that there is no new data. `--again` offers known data to a night of its own: held-out problems
    stay held out, and where a night with the same data, parent and settings has ended, this one takes the next
    `learn.seed`, since equal inputs train equal weights. Exit code 10: the gate rejected the candidate; 11: it could
    not decide.

        everlearn cycle --data data/example
        everlearn cycle --profile nightly --json
        everlearn cycle --data data/example --again  # problems that a published night has seen are offered again
        everlearn cycle --abandon                    # if it cannot resume; its data stays available

    A night that is given up after its candidate was measured ends as one that could not decide: it was a test. With the
    same data, parent and settings, `--again` begins another. One that is given up before begins anew with the same
    command.
    """
    named: Installation = context.obj
    installation = replace(named, profile=profile or named.profile)
    if abandon:
        abandoned = abandon_night(installation)
        said = [f"abandoned: {abandoned['abandoned'] or 'no night is open'}"]
        if abandoned["charged"]:
            said.append(f"{CHARGED}: {_again(installation.command, data)}")
        print_result(abandoned, as_json=json, text="\n".join(said))
        return
    print_note("starting the local servers, if they are not running (the first start takes 15 s)")
    installation.start()
    if os.environ.get("PREFECT_API_URL"):
        with prefect_client(installation):  # one that does not answer is named before the night begins
            pass
    warning = None if data else misplaced_shards(installation.inbox.parent)
    if warning is not None:
        print_note(warning)
    log_to_stderr()
    from flows.run_cycle import CycleConfig, run_cycle  # Prefect reads its environment when it is imported

    command = installation.command
    with resumable(command):
        ended = run_cycle(
            CycleConfig(
                data=data.absolute() if data else None,
                again=again,
                settings=_with_inbox(installation),
            )
        )
    names = {"end": "end", "version": "version", "reason": "reason", "items": "measured on"}
    rows = [(shown, ended[name]) for name, shown in names.items() if ended.get(name)]
    if ended["end"] == "PUBLISHED":
        rows += [("see the proof", f"{command} report {ended['version']}")]
        if ended.get("waits_for") == "approval":
            rows += [("let it serve", f'{command} approve {ended["version"]} --reason "…"')]
        else:
            rows += [("take it back", f'{command} rollback --reason "…"')]
    elif ended.get("report"):
        rows += [("see why", f"{command} report {str(ended['cycle_key'])[:SHOWN]}")]
    elif ended["end"] == "NO_NEW_DATA" or (ended["end"] == "SKIPPED" and ended.get("cycle_key")):
        rows += [("offer it again", _again(command, data))]
    print_result(ended, as_json=json, text=table("", "", rows=rows))
    raise typer.Exit(EXIT_CODES.get(str(ended["end"]), 0))


def _again(command: str, data: Path | None) -> str:
    """Return the command that offers the same data to a night of its own."""
    return f"{command} cycle{f' --data {shlex.quote(str(data))}' if data else ''} --again"


def _with_inbox(installation: Installation) -> Settings:
    """Return the settings with the inbox of this installation, where its state directory is not the one beside them."""
    settings = installation.settings()
    if installation.inbox == settings.inbox_directory:
        return settings
    return settings.model_copy(update={"data": settings.data.model_copy(update={"inbox": installation.inbox.parent})})


@contextlib.contextmanager
def resumable(command: str) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the command with a note on how to resume, and with the exit code of the signal."""

    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    handler = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        print_note(STOPPED.format(command))
        raise SystemExit(128 + signal.SIGINT) from None
    except SystemExit:
        print_note(STOPPED.format(command))
        raise
    finally:
        signal.signal(signal.SIGTERM, handler)


def abandon_night(installation: Installation) -> dict[str, object]:
    """Close the open night of the line without an end.

    Return its key, as `abandoned` (None if no night is open), and whether it was `charged`, so that its inputs have
    ended.
    """
    from everlearn.cycle.record import abandon_cycle
    from everlearn.gate.abandonment import charge, is_abandoned

    registry = installation.registry()
    opened = abandon_cycle(
        registry.store,
        registry.line,
        before_closing=lambda cycle: charge(registry, cycle, actor=getpass.getuser(), why="everlearn cycle --abandon"),
    )
    if opened is None:
        return {"abandoned": None, "charged": False}
    return {"abandoned": opened.key, "charged": is_abandoned(opened.key, registry.state())}


@app.command()
def verify(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="JSONL file; - is standard input.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="The result is JSON lines in any case.")] = True,  # noqa: ARG001
) -> None:
    """Judge answers: one line of JSON for each input line, in the same order.

    An input line has "problem" (or "question", "prompt", "statement", "integrand") and "answer" (or "response",
    "completion", "solution", "antiderivative"), and optionally "id" and "domain". The file may be compressed by gzip.
    An output line has "id", "verdict" (CORRECT, WRONG, UNREADABLE or UNDECIDED) and "reason". UNREADABLE: the answer
    cannot be read, and is not right. Counts go to standard error. Exit code 2: a line is not valid; the others are
    judged nevertheless.

        everlearn verify answers.jsonl > verdicts.jsonl
        echo '{"problem": "2*x", "answer": "x^2 + 7"}' | everlearn verify -
    """
    from everlearn.domains.verification import verify_lines

    installation: Installation = context.obj
    with open_input(file) as lines:
        counts = verify_lines(lines, sys.stdout, domain=installation.settings().domain)
    print_note(
        f"{counts.lines} lines: {counts.correct} CORRECT, {counts.wrong} WRONG, {counts.unreadable} UNREADABLE, "
        f"{counts.undecided} UNDECIDED"
    )
    if not counts.is_clean:
        raise BadInputError(f"{counts.invalid} of them could not be understood; each output line has the reason")


@app.command()
def ingest(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A .jsonl or .jsonl.gz file, or a directory of them.")],
    *,
    bucket: Annotated[
        bool, typer.Option("--bucket", help="Put them into the bucket for all workers, and start a night.")
    ] = False,
    json: Json = False,
) -> None:
    """Add new problems for the next night.

    Each line is a JSON object: {"problem": "3*x^2 + sin(x)"} (or "question", "prompt", "statement", "integrand"), or a
    chat of one question and its answer ("messages"), optionally with "id" and "domain". The file may be compressed by
    gzip. All lines are checked first; if too many are bad, nothing is added. A published night's problems are not read
    again.

        everlearn ingest problems.jsonl
        everlearn ingest problems.jsonl --bucket    # to <line>/inbox/ in the bucket instead of this machine
    """
    from everlearn.cli.inbox import add_to_inbox
    from everlearn.domains.mixture import domain_of_rows
    from everlearn.training.models.formats.format_choice import checker

    installation: Installation = context.obj
    settings = installation.settings()
    receipt = add_to_inbox(
        path,
        inbox=installation.inbox,
        domain=settings.domain,
        load=partial(domain_of_rows, line_domain=settings.domain),
        max_bad_share=settings.ingest.max_bad_share,
        check=checker(settings.resolve(settings.base.path) if settings.base.path else None, settings.format),
        system=settings.format.system,
    )
    rows = [("good", receipt.good), ("of these duplicates", receipt.duplicates), *receipt.faults.items()]
    print_result(asdict(receipt), as_json=json, text=table("rows", "", rows=rows))
    for example in receipt.examples:
        print_note(f"quarantine: {example}")
    if receipt.unused:
        print_note(receipt.unused)
    if bucket:
        upload_shards(installation, receipt.shards)


def upload_shards(installation: Installation, shards: tuple[Path, ...]) -> None:
    """Move shards from this machine into the bucket, and emit an event, which starts a night."""
    from everlearn.data.bucket_inbox import add_shard
    from everlearn.orchestration.events_client import ARRIVED, emit
    from everlearn.registry.connect import open_store

    installation.connect()
    chosen = installation.settings().store
    store = open_store(chosen)
    different = dict.fromkeys(shards)  # files with equal bytes are one shard
    for shard in different:
        add_shard(store, chosen.line, shard.read_bytes())
        shard.unlink(missing_ok=True)
    was_sent = emit(ARRIVED, line=chosen.line, payload={"shards": len(different)})
    print_note("a night starts, if nights are deployed" if was_sent else "no Prefect server: the next night reads them")


@app.command()
def ladder(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A saved ladder, or a file of problems to grow one for.")],
    *,
    version: Version = "base",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Save the ladder to this file.")] = None,
    json: Json = False,
) -> None:
    """Print a ladder as a tree: each problem with its pass rate.

    For a file of problems, the model grows a ladder first,
    which takes a minute.

        everlearn ladder ladder.jsonl
        everlearn ladder data/example --version champion --out ladder.jsonl
    """
    from everlearn.cli import ladder_tree, model
    from everlearn.ladder.tree import load_ladder

    if out is not None and (out.is_dir() or any(each.is_file() for each in out.parents)):
        raise BadInputError(f"{out} cannot be a file: name another one")  # before minutes of growing
    tree = load_ladder(file) if model.is_ladder(file) else model.grow_ladder(context.obj, file, version=version)
    if out is not None:
        tree.save(out)
    print_result(ladder_tree.ladder_facts(tree), as_json=json, text=ladder_tree.draw_ladder(tree))


@app.command()
def evaluate(
    context: typer.Context,
    *,
    version: Version,
    suite: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="Name of a suite in data/suites, or a file of problems.")
    ],
    answers: Annotated[
        bool, typer.Option("--answers", help="Print every problem with its answer and verdict.")
    ] = False,
    json: Json = False,
) -> None:
    """Measure a version on a suite: answer each problem once, greedily, and judge the answers.

    everlearn evaluate --version champion --suite short-sums

    everlearn evaluate --version base --suite problems.jsonl --answers
    """
    from everlearn.cli import model

    installation: Installation = context.obj
    chosen = model.suite_of(suite, settings=installation.settings())
    measurements = model.evaluate(installation, version=version, suite=chosen)
    facts = {"version": version, "suite": chosen.name, "suite_digest": chosen.digest} | model.summary(measurements)
    rows = [(each.verdict.ruling, each.item, each.answer, each.verdict.reason) for each in measurements]
    totals = [(name, f"{value:.1%}" if name == "share" else value) for name, value in facts.items()]
    parts = [table("", "", rows=totals)]
    if answers:
        names = ("verdict", "item", "answer", "reason")
        facts["answers"] = [dict(zip(names, row, strict=True)) for row in rows]
        parts.append(table(*names, rows=rows))
    print_result(facts, as_json=json, text=Group(*parts))


@contextlib.contextmanager
def open_input(file: str) -> Iterator[BinaryIO]:
    """Yield the bytes of a file, or of standard input for `-`. BadInputError if it cannot be opened."""
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        lines = Path(file).open("rb")  # noqa: SIM115 - closed below; errors while it is read are not caught here
    except OSError as error:
        raise BadInputError(
            f"{file} cannot be read ({error.strerror}); name a JSONL file, or - for standard input"
        ) from None
    with lines:
        yield lines
