"""Compare a candidate with the record of its line, on every suite that must not get worse, where `gate.loss_error` is `line`.

The parent answers what the record lacks, the candidate answers every suite until it is decided, and what it is shown to
do better than the record it answers afresh for the nights after this one.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from everlearn.data.suites import SuiteKind
from everlearn.gate.decision_record import Outcome
from everlearn.gate.guard import Guard
from everlearn.gate.record_of_line import (
    from_json,
    guarded_suites,
    holder_of,
    item_key,
    letter_of,
    memory_parts,
    policy_of_night,
    record_after,
    record_answers,
    to_json,
    unrecorded,
)
from everlearn.registry.line_state import BASE
from tasks.error_levels import loss_level_of
from tasks.freeze_suites import load_suites, way_of_asking_of
from tasks.measure import CANDIDATE, examination_of, has_guards
from tasks.night import LOG, as_json, step_task, timed_step
from tasks.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from everlearn.data.suites import Suite
    from everlearn.problem import Problem
    from everlearn.registry.line_state import State
    from everlearn.registry.manifest import ObjectRef
    from tasks.night import Night


@step_task
def complete_record(night: Night) -> None:
    """Let the parent answer the items that the record lacks, `gate.record_samples` times each.

    Where the record has an item's answers with another temperature, format or quantization, the policy that gave them
    answers it again.

    Raises:
        RegistryError: such a policy was retired.
    """
    if not has_guards(night):
        return
    with timed_step(night, "record parent") as work:
        if work.has("line record"):
            return
        known = record_after(night.inputs.parent, night.registry)
        samples, asked = night.settings.gate.record_samples, way_of_asking_of(night)
        missing: dict[str, list[Problem]] = {}
        for problem in unrecorded(_guarded(night), known, asked=asked):
            item = known.get(item_key(problem))
            missing.setdefault(item.policy if item else night.inputs.parent or BASE, []).append(problem)
        for policy, problems in missing.items():
            version = _version_of(policy, night.registry.state())
            with _looking(night, version, name=f"{version} for the record", most=samples * len(problems)) as look:
                looks = [look(problems, number) for number in range(samples)]
            known |= record_answers(problems, looks, policy=policy, asked=asked)
        work.put("line record", to_json(known))


@step_task
def look_at_candidate(night: Night) -> None:
    """Let the candidate answer every guarded suite until it is decided."""
    if not has_guards(night):
        return
    with timed_step(night, "look at candidate") as work:
        if work.has("looks"):
            return
        suites, guards = {suite.name: suite for suite in _guarded(night)}, new_guards(night)
        most = night.settings.gate.most_looks * sum(len(suite.problems) for suite in suites.values())
        with _looking(night, CANDIDATE, name="candidate against the record", most=most) as look:
            for number in range(night.settings.gate.most_looks):
                undecided = [guard for guard in guards if guard.needs_look]
                if not undecided:
                    break
                answers = iter(look([item for guard in undecided for item in suites[guard.suite].problems], number))
                seen = {guard.suite: guard.look("".join(next(answers) for _ in guard.recorded)) for guard in undecided}
                guards = [seen.get(guard.suite, guard) for guard in guards]
                open_suites = sum(guard.needs_look for guard in guards)
                LOG.info("look %d: %d of %d suites need another", number + 1, open_suites, len(guards))
        work.put("looks", as_json({guard.suite: guard.looks for guard in guards}))


@step_task
def renew_record(night: Night) -> None:
    """Let a candidate that passed all guards answer the suites afresh on which it is shown to be better than the record."""
    if not has_guards(night):
        return
    with timed_step(night, "renew record") as work:
        if work.has("line record after"):
            return
        record, guards = from_json(work.get("line record")), guards_of(night)
        gained = {guard.suite for guard in guards if guard.has_gained}
        better = [suite for suite in _guarded(night) if suite.name in gained]
        if better and all(guard.outcome is Outcome.PASS for guard in guards):
            samples = night.settings.gate.record_samples
            most = samples * sum(len(suite.problems) for suite in better)
            with _looking(night, CANDIDATE, name="candidate for the record", most=most) as look:
                for suite in better:
                    looks = [look(suite.problems, -1 - number) for number in range(samples)]
                    fresh = record_answers(
                        suite.problems, looks, policy=policy_of_night(night.key), asked=way_of_asking_of(night)
                    )
                    if sum(item.share for item in fresh.values()) > sum(record[key].share for key in fresh):
                        record |= fresh
        work.put("line record after", to_json(record))


def new_guards(night: Night) -> list[Guard]:
    """Return the guards of the night before the first look."""
    record, suites = from_json(night.work.get("line record")), _guarded(night)
    parts, state, level = memory_parts(load_suites(night)), night.registry.state(), loss_level_of(night)
    assert level is not None  # noqa: S101 (only nights with guards call this)
    recorded = {suite.name: tuple(record[item_key(problem)] for problem in suite.problems) for suite in suites}
    return [
        Guard(
            suite=suite.name,
            kind=suite.kind,
            recorded=recorded[suite.name],
            settings=night.settings.gate,
            level=level,
            guards=len(suites),
            parts=parts if suite.kind is SuiteKind.MEMORY else (),
            holder=_able_to_serve(holder_of(recorded[suite.name]), state),
        )
        for suite in suites
    ]


def guards_of(night: Night) -> list[Guard]:
    """Return the guards of the night with all looks; none where `gate.loss_error` is `night`."""
    if not has_guards(night):
        return []
    looks = json.loads(night.work.get("looks"))
    guards = new_guards(night)
    for name, seen in looks.items():
        for answers in seen:
            guards = [guard.look(answers) if guard.suite == name else guard for guard in guards]
    return guards


def stored_record(night: Night) -> ObjectRef | None:
    """Store the record for the nights after this one; None where the night had no guards."""
    return night.registry.put_object(night.work.get("line record after")) if has_guards(night) else None


def _able_to_serve(policy: str | None, state: State) -> str | None:
    """Return the version, or `base`, that the record calls `policy`; None where it is barred or retired."""
    version = _version_of(policy or "", state)
    entry = state.versions.get(version)
    is_able = version == BASE or (entry is not None and not entry.barred and not entry.retired)
    return version if is_able else None


def _version_of(policy: str, state: State) -> str:
    """Return the version, or `base`, that the record calls `policy`; the name itself where no version has it."""
    nights = {policy_of_night(each.cycle_key): each.version for each in state.versions.values()}
    return nights.get(policy, policy)


def _guarded(night: Night) -> tuple[Suite, ...]:
    return guarded_suites(load_suites(night))


@contextlib.contextmanager
def _looking(night: Night, policy: str, *, name: str, most: int) -> Iterator[Callable[[Sequence[Problem], int], str]]:
    """Load a policy, and yield a function (problems, number of the look) -> one letter for each sampled answer (`letter_of`).

    The number is part of the seed. `most` is the largest number of answers that can be needed, for the progress. What
    was decoded is kept in the workspace until the block ends.
    """
    from everlearn.training.rollouts import seed_of  # imports torch

    segments, temperature, answered = f"looking/{name}", night.settings.gate.look_temperature, 0
    with progress(name) as report, examination_of(night, policy, _guarded(night), segments=segments) as loaded:
        examination = replace(loaded, progress=lambda done, _: report(answered + done, most))

        def look(problems: Sequence[Problem], number: int) -> str:
            nonlocal answered
            seed = seed_of(night.key, "look", policy, number)
            rows = examination.measure(problems, seed=seed, temperature=temperature)
            answered += len(rows)
            return "".join(letter_of(row.verdict.ruling) for row in rows)

        yield look
    night.work.drop(segments)
