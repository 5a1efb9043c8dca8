"""`fsck`: check every event and byte of a line, and repair what can be proved."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everlearn.cli.output import Json, Yes, confirm, is_interactive, print_note, print_result, progress_bar
from everlearn.errors import IntegrityError

if TYPE_CHECKING:
    from everlearn.cli.context import Installation
    from everlearn.registry.maintenance.fsck import Damage, Findings
    from everlearn.registry.maintenance.restore import RepairPlan
    from everlearn.registry.sealed_document import Verifier
    from everlearn.storage.protocol import Store

app = typer.Typer()
MAX_LISTED = 20
"""Unreferenced objects that are listed by name."""


@app.command()
def fsck(
    context: typer.Context,
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Restore what can be proved.")] = False,
    adopt: Annotated[
        str | None, typer.Option(metavar="DIGEST", help="Let HEAD name this event, which you know was committed.")
    ] = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Check every event and every byte of a line, and list what is damaged, missing or unreferenced.

    Unreferenced objects are left by crashes and lost races and are not faults. Exit code 5: something is damaged or
    missing. `--repair` restores HEAD to an event that was certainly committed (the bucket holds an older HEAD, a
    consumer has acknowledged the event, or another event follows it), and objects of which the bucket holds the right
    bytes. A newest event without such evidence counts as a lost race, unless you `--adopt` it.

        everlearn fsck
        everlearn fsck --json | jq .damaged
        everlearn fsck --repair
        everlearn fsck --adopt 3f9c0a71d2e4
    """
    from everlearn.registry.maintenance.restore import carry_out

    installation: Installation = context.obj
    store, line, verifier = _open(installation)
    findings = _walk(store, line, verifier)
    done: list[RepairPlan] = []
    while not done or repair:
        plan = _plan(store, findings, verifier, repair=repair, adopt=None if done else adopt)
        if plan is None or plan.is_empty or plan in done:  # the same again would change nothing
            break
        _require_confirmation(plan, yes=yes)
        carry_out(store, plan)
        done.append(plan)
        findings = _walk(store, line, verifier)
    print_result(_facts(findings, done), as_json=json, text=_summary(findings, done))
    if not findings.is_clean:
        raise typer.Exit(IntegrityError.exit_code)


def _open(installation: Installation) -> tuple[Store, str, Verifier]:
    from everlearn.registry import connect

    installation.connect()
    settings = installation.settings()
    return connect.open_store(settings.store), settings.store.line, connect.open_verifier(settings)


def _walk(store: Store, line: str, verifier: Verifier) -> Findings:
    from everlearn.registry.maintenance.fsck import fsck as walk

    with progress_bar("checking") as progress:
        return walk(store, line, verifier=verifier, progress=progress)


def _plan(
    store: Store, findings: Findings, verifier: Verifier, *, repair: bool, adopt: str | None
) -> RepairPlan | None:
    from everlearn.registry.maintenance.restore import plan_adoption, plan_repair

    if adopt is not None:
        return plan_adoption(store, findings, adopt, verifier=verifier)
    if not repair or (findings.is_clean and not findings.lost):
        return None
    try:
        return plan_repair(store, findings, verifier=verifier)
    except IntegrityError as error:
        print_note(f"not repaired: {error}")
        return None


def _require_confirmation(plan: RepairPlan, *, yes: bool) -> None:
    for sentence in _describe_plan(plan):
        print_note(sentence)
    if is_interactive(yes=yes):
        confirm("Do that?")


def _describe_plan(plan: RepairPlan) -> list[str]:
    """Return what a plan changes, one sentence each."""
    sentences = [f"put back {key} from an older content of the bucket" for key in plan.put_back]
    if plan.head is not None:
        champion = plan.champion or "the base model alone"
        sentences.append(
            f"let {plan.line}/HEAD name event {plan.sequence} ({plan.event[:12]}; champion: {champion}): {plan.because}"
        )
    return sentences


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
        "lost": [asdict(fault) for fault in findings.lost],
        "unreferenced": list(findings.unreferenced),
        "orphan_tips": [{"digest": tip.digest} | tip.to_content() for tip in findings.orphan_tips],
        "done": [sentence for plan in done for sentence in _describe_plan(plan)],
    }


def _summary(findings: Findings, done: list[RepairPlan]) -> str:
    """Return the findings for people, one sentence per line: faults, unreferenced objects, verdict."""
    lines = [f"done: {sentence}" for plan in done for sentence in _describe_plan(plan)]
    lines += [f"damaged: {_sentence(fault)}" for fault in (*findings.head, *findings.damaged)]
    lines += [f"missing: {_sentence(fault)}" for fault in findings.missing]
    lines += [f"lost document: {_sentence(fault)}; no version needs it" for fault in findings.lost]
    lines += [f"unreferenced: {key}" for key in findings.unreferenced[:MAX_LISTED]]
    if len(findings.unreferenced) > MAX_LISTED:
        lines.append(
            f"and {len(findings.unreferenced) - MAX_LISTED} more that nothing needs; `everlearn gc` lists them all"
        )
    for tip in findings.orphan_tips:
        lines.append(f"orphan tip: event {tip.sequence} ({tip.kind}: {tip.reason}) lost its race, as far as is known;")
        lines.append(f"  if you know that it was committed: everlearn fsck --adopt {tip.digest[:12]}")
    size = f"{findings.size / 1e6:,.1f} MB"
    lines.append(f"{len(findings.trail)} events, {findings.checked} objects, {size}: {_verdict(findings)}")
    return "\n".join(lines)


def _sentence(fault: Damage) -> str:
    return fault.why if fault.key in fault.why else f"{fault.key}: {fault.why}"


def _verdict(findings: Findings) -> str:
    if findings.is_clean:
        return "all holds"
    faults = len(findings.head) + len(findings.damaged) + len(findings.missing)
    count = "1 fault" if faults == 1 else f"{faults} faults"
    return f"{count}; `everlearn fsck --repair` puts back what can be proved"
