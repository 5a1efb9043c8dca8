"""`gate plan`: what the suites of a line can decide, before a night is paid for. `gate audit`: its decisions, made again."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Group
from rich.text import Text

from everlearn.cli.output import Json, Profile, print_result, table
from everlearn.registry.night_lookup import SHOWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from everlearn.cli.context import Installation
    from everlearn.data.suites import Suite
    from everlearn.gate.plan import AnswersNeeded, NightPlan, PlannedGuard
    from everlearn.settings import Settings

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
OWN = (6, 20, 30, 50, 100, 200, 500)
"""Numbers of own held-out problems that are shown."""


@app.callback()
def gate() -> None:
    """What the gate can decide, and whether it decided right.

    everlearn gate plan
    """


@app.command()
def plan(context: typer.Context, *, profile: Profile = None, json: Json = False) -> None:
    """Show which losses the suites can exclude, how many items the wanted margins need, and which gains a night can show.

    A margin is decided if an unchanged model stays within it with probability `gate.power`: against parent, base and
    best version, or with `gate.loss_error: line` against the record, after `gate.most_looks` answers an item, the
    memory of earlier nights included. With an error budget of the line the levels are those of its next night, and what
    is spent and left of the budget is said. Before `everlearn up` has made the key of a line on this machine,
    `gate.improvement_error: line` has the level of its first night. Nothing is changed.

        everlearn gate plan
        everlearn gate plan --json | jq .guards
        everlearn gate plan --json | jq .budgets.losses.left
    """
    from everlearn.data import suites
    from everlearn.domains.domain_names import find_domain
    from everlearn.gate.plan import plan_night
    from everlearn.gate.record_of_line import way_of_asking

    named: Installation = context.obj
    installation = replace(named, profile=profile or named.profile)
    settings = installation.settings()
    find_domain(settings.domain)  # suites of a misspelt one would be left out without a word
    gate = settings.gate
    shipped = suites.load_directory(settings.suites_directory, domain=settings.domain) + _general(settings)
    is_new = settings.store.endpoint_url is None and not installation.has_key  # a line on this machine, before `up`
    by_line = gate.loss_error == "line" or (gate.improvement_error == "line" and not is_new)
    registry = installation.registry() if by_line else None  # the only thing that needs it
    asked = way_of_asking(settings.model_dump(mode="json"))
    made = plan_night(shipped, settings=gate, sizes=OWN, registry=registry, asked=asked)
    print_result(_facts(made), as_json=json, text=_shown(made))


@app.command()
def audit(context: typer.Context, *, json: Json = False) -> None:
    """Make every decision of the line again, from what the bucket holds, and compare it with the stored one.

    Needs no model and no problems: each decision names its evidence, and the levels of an error budget of the line
    follow from the events before it. Decisions of earlier releases, and of retired versions, cannot be repeated and are
    named. One at a level of an older rule is repeated at that level, and named. Nothing is changed. Exit code 1: a
    decision differs.

        everlearn gate audit
        everlearn gate audit --json | jq '.decisions[] | select(.differences != [])'
    """
    from everlearn.gate.audit import audit as repeat

    installation: Installation = context.obj
    decisions = list(repeat(installation.known_registry()))
    wrong = [decision for decision in decisions if decision.differences]
    unknown = sum(decision.differences is None for decision in decisions)
    rows = [
        (
            decision.version or decision.cycle_key[:SHOWN],
            decision.end,
            _level(decision.level),
            _level(decision.loss_level),
            _verdict(decision.differences, by_older_rule=decision.by_older_rule),
        )
        for decision in decisions
    ]
    said = f"{len(decisions) - unknown - len(wrong)} of {len(decisions)} decisions are as they were stored"
    if unknown:
        said += f"; {unknown} cannot be repeated: their evidence was not kept, or an older rule judged their looks or targets"
    older = sum(decision.by_older_rule for decision in decisions)
    if older:
        said += f"; {older} by an older rule of the level: made today, they would have another"
    differences = [
        f"{decision.version or decision.cycle_key[:SHOWN]}: {difference}"
        for decision in wrong
        for difference in decision.differences or ()
    ]
    names = ("night", "ended", "level", "loss level", "repeated")
    text = Group(table(*names, rows=rows), Text("\n".join([said, *differences])))
    facts = {
        "decisions": [asdict(decision) for decision in decisions],
        "differ": len(wrong),
        "not_repeatable": unknown,
        "by_older_rule": older,
    }
    print_result(facts, as_json=json, text=text)
    if wrong:
        raise typer.Exit(1)


def _general(settings: Settings) -> tuple[Suite, ...]:
    """Return the general suites that a night of these settings measures."""
    if settings.data.general is None:
        return ()
    from everlearn.data import suites
    from everlearn.domains.contract import load_domain
    from everlearn.training.models.formats.format_choice import is_asked_in_words

    general = suites.load_general(settings.resolve(settings.data.general))
    folder = settings.base_directory if settings.base.path else None  # of a model of a hub it may not be here yet
    in_words = is_asked_in_words(folder, settings.format, load_domain(settings.domain))
    return general if in_words else ()


def _facts(plan: NightPlan) -> dict[str, Any]:
    return {
        "guards": [asdict(guard) | {"is_decided": guard.is_decided} for guard in plan.guards],
        "level": plan.level,
        "loss_level": plan.loss_level,
        "attempts": None if plan.past is None else plan.past.attempts,
        "tests": None if plan.past is None else len(plan.past.labels),
        "labels": None if plan.past is None else sum(plan.past.labels),
        "gains": {str(size): gain for size, gain in plan.gains.items()},
        "answers": _answers(plan.answers),
        "budgets": {error: asdict(budget) for error, budget in plan.budgets.items()},
    }


def _answers(answers: AnswersNeeded | None) -> dict[str, int] | None:
    return asdict(answers) | {"least": answers.least, "most": answers.most} if answers else None


def _shown(plan: NightPlan) -> Group:
    names = ("must not get worse", "independent items", "margin wanted", "decided", "items for the wanted one")
    gains = [(size, "never" if gain is None else f"{_points(gain)} points") for size, gain in plan.gains.items()]
    return Group(
        table(*names, rows=_guard_rows(plan.guards)),
        Text(""),
        Text("; ".join(_sentences(plan))),
        table("own held-out problems", "show a gain of", rows=gains),
    )


def _sentences(plan: NightPlan) -> Iterator[str]:
    """Yield the levels of the next night, the answers that it needs, and what is left of the line's budgets."""
    yield f"an improvement has to be shown at the level {plan.level:.2g}"
    if plan.answers is not None:
        yield f"a loss since the record has to be excluded at the level {plan.loss_level:.2g}"
        yield plan.answers.sentence
    if plan.past is None and plan.budgets:
        yield "the line has no key on this machine yet, so this is about its first night"
    if plan.past is not None:
        yield f"the next attempt of the line is number {plan.past.attempts + 1}"
    if plan.past is not None and "improvements" in plan.budgets:
        tests, labels = len(plan.past.labels), sum(plan.past.labels)
        yield f"its budget for improvements has judged {tests} nights, and {labels} of them earn for the next one"
    for error, budget in plan.budgets.items():
        said = f"of the error budget for {error}, {budget.spent:.2g} is spent and {budget.left:.2g} is left"
        if budget.overdrawn:
            said += f": it is overdrawn by {budget.overdrawn:.2g}, since a label was voided or gate.alpha was another"
        yield said


def _guard_rows(guards: Sequence[PlannedGuard]) -> list[tuple[object, ...]]:
    if not guards:
        return [("no skill or general suite: nothing shows that the model keeps what it can", None, None, None, None)]
    return [
        (
            guard.suites,
            f"{guard.items:.0f}",
            _points(guard.wanted),
            Text(_points(guard.decided), style="green" if guard.is_decided else "yellow"),
            guard.items_needed,
        )
        for guard in guards
    ]


def _level(level: float | None) -> str:
    return "alpha" if level is None else f"{level:.2g}"


def _verdict(differences: Sequence[str] | None, *, by_older_rule: bool) -> str | Text:
    if differences is None:
        return "not repeatable"
    if differences:
        return Text(f"{len(differences)} differences", style="red")
    return "the same, by an older rule" if by_older_rule else "the same"


def _points(share: float) -> str:
    return f"{100 * share:.1f}"
