"""`fsck`: whether everything that a line holds is what was once written, and what to do where it is not."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everlearn.cli.output import Json, answer, errors, tell
from everlearn.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from everlearn.cli.context import Place
    from everlearn.registry.maintenance.fsck import Damage, Findings
    from everlearn.registry.maintenance.restore import RepairPlan
    from everlearn.registry.sealed_document import Verifier
    from everlearn.storage.protocol import Store

app = typer.Typer()
SHOWN = 20  # unreferenced objects that are told one by one


@app.command()
def fsck(
    context: typer.Context,
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Put back what can be proved.")] = False,
    adopt: Annotated[
        str | None, typer.Option(metavar="DIGEST", help="Let HEAD name this event: you know that it was committed.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, even at a terminal.")] = False,
    json: Json = False,
) -> None:
    """Walk the whole line, every event and every byte, and name what is damaged, missing or unreferenced.

    Unreferenced objects are left by crashes and lost races, and are no fault. Ends with 5 if something is damaged or
    missing. `--repair` puts back HEAD where it surely was once (the bucket holds an older HEAD, a consumer has
    acknowledged the event, or another event was written on top of it), and objects of which the bucket holds the right
    bytes. An event on top of the history that nothing proves is a lost race, until you `--adopt` it.

        everlearn fsck
        everlearn fsck --json | jq .damaged
        everlearn fsck --repair
        everlearn fsck --adopt 3f9c0a71d2e4
    """
    from everlearn.registry.maintenance.restore import carry_out

    place: Place = context.obj
    store, line, verifier = _open(place)
    findings = _walk(store, line, verifier)
    done: list[RepairPlan] = []
    while not done or repair:
        plan = _plan(store, findings, verifier, repair=repair, adopt=None if done else adopt)
        if plan is None or plan.is_empty:
            break
        _ask(plan, yes=yes)
        carry_out(store, plan)
        done.append(plan)
        findings = _walk(store, line, verifier)
    answer(_facts(findings, done), as_json=json, shown=_told(findings, done))
    if not findings.is_clean:
        raise typer.Exit(IntegrityError.exit_code)


def _open(place: Place) -> tuple[Store, str, Verifier]:
    from everlearn.registry import connect

    place.connect()
    settings = place.settings()
    return connect.open_store(settings.store), settings.store.line, connect.open_verifier(settings)


def _walk(store: Store, line: str, verifier: Verifier) -> Findings:
    from everlearn.registry.maintenance.fsck import fsck as walk

    with _bar() as progress:
        return walk(store, line, verifier=verifier, progress=progress)


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error where somebody watches; it leaves nothing behind."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("checking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = errors()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("checking", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _plan(
    store: Store, findings: Findings, verifier: Verifier, *, repair: bool, adopt: str | None
) -> RepairPlan | None:
    from everlearn.registry.maintenance.restore import plan_adoption, plan_repair

    if adopt is not None:
        return plan_adoption(store, findings, adopt, verifier=verifier)
    if not repair or findings.is_clean:
        return None
    try:
        return plan_repair(store, findings, verifier=verifier)
    except IntegrityError as error:
        tell(f"not repaired: {error}")
        return None


def _ask(plan: RepairPlan, *, yes: bool) -> None:
    for sentence in _intents(plan):
        tell(sentence)
    if sys.stdin.isatty() and not yes:
        typer.confirm("Do that?", abort=True, err=True)


def _intents(plan: RepairPlan) -> list[str]:
    """What a plan changes, one sentence each."""
    said = [f"put back {key} from an older content of the bucket" for key in plan.put_back]
    if plan.head is not None:
        champion = plan.champion or "the base model alone"
        said.append(
            f"let {plan.line}/HEAD name event {plan.sequence} ({plan.event[:12]}; champion: {champion}): {plan.because}"
        )
    return said


def _facts(findings: Findings, done: list[RepairPlan]) -> dict[str, Any]:
    return {
        "line": findings.line,
        "clean": findings.is_clean,
        "events": len(findings.trail),
        "checked": findings.checked,
        "bytes": findings.size,
        "head": [asdict(fault) for fault in findings.head],
        "damaged": [asdict(fault) for fault in findings.damaged],
        "missing": [asdict(fault) for fault in findings.missing],
        "unreferenced": list(findings.unreferenced),
        "orphan_tips": [{"digest": tip.digest} | tip.to_content() for tip in findings.orphan_tips],
        "done": [sentence for plan in done for sentence in _intents(plan)],
    }


def _told(findings: Findings, done: list[RepairPlan]) -> str:
    """The findings for people, a sentence a line: faults first, then what is only left over, then the verdict."""
    said = [f"done: {sentence}" for plan in done for sentence in _intents(plan)]
    said += [f"damaged: {_sentence(fault)}" for fault in (*findings.head, *findings.damaged)]
    said += [f"missing: {_sentence(fault)}" for fault in findings.missing]
    said += [f"unreferenced: {key}" for key in findings.unreferenced[:SHOWN]]
    if len(findings.unreferenced) > SHOWN:
        said.append(f"and {len(findings.unreferenced) - SHOWN} more that nothing needs; `everlearn gc` lists them all")
    for tip in findings.orphan_tips:
        said.append(f"orphan tip: event {tip.sequence} ({tip.kind}: {tip.reason}) lost its race, as far as is known;")
        said.append(f"  if you know that it was committed: everlearn fsck --adopt {tip.digest[:12]}")
    size = f"{findings.size / 1e6:,.1f} MB"
    said.append(f"{len(findings.trail)} events, {findings.checked} objects, {size}: {_verdict(findings)}")
    return "\n".join(said)


def _sentence(fault: Damage) -> str:
    return fault.why if fault.key in fault.why else f"{fault.key}: {fault.why}"


def _verdict(findings: Findings) -> str:
    if findings.is_clean:
        return "all holds"
    faults = len(findings.head) + len(findings.damaged) + len(findings.missing)
    count = "1 fault" if faults == 1 else f"{faults} faults"
    return f"{count}; `everlearn fsck --repair` puts back what can be proved"
