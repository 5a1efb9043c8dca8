"""Freeze the suites of a night, so that candidate and parent are measured on the same problems, none of them trained on."""

from __future__ import annotations

import json
import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from everlearn.data import suites
from everlearn.data.holdout import split, split_by_canonical_form
from everlearn.data.memory_suite import memory_name, split_memory
from everlearn.data.snapshot_store import load_snapshot
from everlearn.data.suites import SuiteKind
from everlearn.data.target_suite import FILLERS, TARGET, freeze_own, suite_name
from everlearn.domains.contamination import equivalence_keys, without_contamination
from everlearn.domains.contract import load_domain
from everlearn.errors import BadInputError, GrammarError
from everlearn.gate.improvement_power import describe_target
from everlearn.gate.plan import answers_needed
from everlearn.gate.record_of_line import memory_after, record_after, way_of_asking
from everlearn.registry.guarded_suites import SuiteContent
from everlearn.reporting.own_items import ITEM_METRICS, count_items
from everlearn.training.models.formats.format_choice import is_asked_in_words
from tasks.earlier_nights import earlier_use, record_measured
from tasks.error_levels import improvement_level_of
from tasks.night import ACTOR, LOG, as_json, step_task, timed_step
from tasks.open_base import base_folder
from tasks.starting_point import choose_start

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from everlearn.cycle.workspace import Workspace
    from everlearn.data.holdout import Split
    from everlearn.data.suites import Suite
    from everlearn.data.used_problems import EarlierUse
    from everlearn.domains.contract import Domain
    from everlearn.problem import Problem
    from everlearn.settings import Settings
    from tasks.night import Night

TO_GUARD = 'to guard what the model can, begin its file with a header such as {"suite": "NAME", "kind": "skill"}'
FORBIDDEN = "forbidden keys"


@step_task
def freeze_suites(night: Night) -> bool:
    """Freeze the night's suites before any ladder: target, fillers, memory, and the shipped suites.

    Return False where nothing is left to train on: every new problem is held out or equivalent to a suite item.
    """
    with timed_step(night, "suites") as work:
        if not work.has("suites"):
            domain = load_domain(night.settings.domain)
            choose_start(night)
            earlier = earlier_use(night)
            shipped, general = load_shipped(night.settings), load_general(night.settings)
            _warn_of_suites(night.settings, shipped, general)
            shipped, general = (
                without_trained(each, domain=domain, trained=earlier.trained) for each in (shipped, general)
            )
            memory = split_memory(load_memory(night), versions=versions_of(night))
            items, remembered = (keys_of(group, domain=domain) for group in ((*shipped, *general), memory))
            earlier = replace(earlier, measured=earlier.measured | remembered)
            parts = _split(night, domain=domain, items=items, earlier=earlier)
            if not parts.roots:
                record_measured(night, [], earlier=earlier)
                return False
            own = freeze_own(
                parts,
                domain=domain,
                items=items,
                earlier=earlier,
                least=night.settings.ingest.min_target_items,
                seed=night.inputs.data_digest,
            )
            _log_power(night, own)
            compared = with_fresh_targets(shipped, domain=domain, not_fresh=earlier.not_fresh)
            frozen = [*own, *memory, *compared, *general]
            suites.require_distinct(frozen)
            _log_answers_needed(night, frozen)
            record_measured(night, _statements(suites.of_line(frozen, domain.name)), earlier=earlier)
            work.put("items", as_json(count_items(own)))
            _keep_split(work, parts)
            _keep_forbidden(work, earlier.measured | keys_of(frozen, domain=domain))
            night.registry.guard_suites(_guarded(frozen), actor=ACTOR)
            _keep_suites(work, frozen)  # last: a resumed night freezes again unless all of the above is there
    return True


def _guarded(frozen: Iterable[Suite]) -> dict[str, SuiteContent]:
    """Return the suites that guard the line, without those about tonight's problems."""
    return {
        suite.name: SuiteContent(kind=str(suite.kind), items=len(suite.problems), data=suite.to_jsonl().encode())
        for suite in frozen
        if not suite.kind.is_of_tonight
    }


@step_task
def check_suites(settings: Settings) -> None:
    """Read the suites before a night is opened: its settings are frozen, so that another folder would come too late.

    Raises:
        BadInputError: a suite or its folder cannot be used.
    """
    suites.require_distinct([*load_shipped(settings), *load_general(settings)])


def load_shipped(settings: Settings) -> tuple[Suite, ...]:
    """Return the shipped suites of the line's domain. Raises BadInputError where one has the name of a night's own."""
    folder = settings.suites_directory
    domain = load_domain(settings.domain)
    shipped = suites.load_directory(folder, domain=domain.name)
    own_names = {suite_name(base, part, domain=domain) for base in (TARGET, FILLERS) for part in domain.parts}
    taken = [suite.name for suite in shipped if suite.name in own_names or suite.name.startswith(memory_name(""))]
    if taken:
        raise BadInputError(f"a suite in {folder} is named {taken[0]!r}, as a night names its own suites; rename it")
    for suite in shipped:
        require_problems(suite, domain=domain)
    return shipped


def load_general(settings: Settings) -> tuple[Suite, ...]:
    """Return the general suites of `data.general`, where the line's model is addressed in words."""
    domain = load_domain(settings.domain)
    if settings.data.general is None:
        return ()
    if not is_asked_in_words(base_folder(settings), settings.format, domain):
        return ()
    general = suites.load_general(settings.resolve(settings.data.general))
    for suite in general:
        for name in {problem.domain for problem in suite.problems}:
            require_problems(suite, domain=load_domain(name))
    return general


def _warn_of_suites(settings: Settings, shipped: Iterable[Suite], general: Collection[Suite]) -> None:
    for suite in shipped:
        if suite.kind is SuiteKind.TARGET:
            LOG.warning("suite %s is a target, which guards nothing: %s", suite.name, TO_GUARD)
    if settings.data.general is not None and not general:
        LOG.warning("data.general: the model is not addressed in words, so general suites say nothing about it")


def require_problems(suite: Suite, *, domain: Domain) -> None:
    """Check that the items are problems of the domain. Raises BadInputError, which names the first one that is not."""
    for problem in suite.problems:
        try:
            domain.problem({"statement": problem.statement, "reference": problem.reference})
            domain.question(problem)  # as it is: nothing that the reference of a row adds to its statement
        except GrammarError as error:
            raise BadInputError(
                f"item {problem.id} of suite {suite.name} is no problem of domain {domain.name}: {error}; correct it, or "
                "name its domain in a field `domain`"
            ) from None


def without_trained(shipped: Iterable[Suite], *, domain: Domain, trained: Collection[str]) -> tuple[Suite, ...]:
    """Return the suites without the items that equal what published nights trained on: they would measure memory.

    This concerns suites, and items, that are newer than these nights: nothing that ships is trained on.
    """
    kept = (
        _without(suite, trained, domain, why="earlier nights trained on them or on equal problems") for suite in shipped
    )
    return tuple(suite for suite in kept if suite.problems)


def with_fresh_targets(shipped: Iterable[Suite], *, domain: Domain, not_fresh: Collection[str]) -> tuple[Suite, ...]:
    """Return the suites, those that are targets without the items that tonight's own may not hold either (`EarlierUse.not_fresh`)."""
    why = "an earlier night measured them, and a test needs fresh ones"
    kept = (
        _without(suite, not_fresh, domain, why=why) if suite.kind is SuiteKind.TARGET else suite for suite in shipped
    )
    return tuple(suite for suite in kept if suite.problems)


def _without(suite: Suite, forbidden: Collection[str], domain: Domain, *, why: str) -> Suite:
    of_line = suites.of_line([suite], domain.name)
    kept = {
        item.id for part in of_line for item in without_contamination(part.problems, domain=domain, forbidden=forbidden)
    }
    problems = tuple(item for item in suite.problems if item.id in kept or not of_line)
    if problems != suite.problems:
        count = len(suite.problems)
        LOG.warning("suite %s: %d of %d items left out, because %s", suite.name, count - len(problems), count, why)
    return replace(suite, problems=problems)


def load_memory(night: Night) -> tuple[Problem, ...]:
    """Return the problems of earlier nights that the parent's manifest names; none before the first night that left any."""
    memory = memory_after(night.inputs.parent, night.registry) if night.settings.gate.memory_items else None
    return memory.problems if memory else ()


def versions_of(night: Night) -> dict[str, str]:
    """Return the versions of the line by the cycle keys of their nights."""
    return {entry.cycle_key: entry.version for entry in night.registry.state().versions.values()}


def _log_power(night: Night, own: Iterable[Suite]) -> None:
    """Log which improvement the night's own items can show."""
    counts, gate = count_items(own), night.settings.gate
    gate = gate.model_copy(update={"alpha": improvement_level_of(night) or gate.alpha})
    can_decide, sentence = describe_target(
        int(counts[ITEM_METRICS[SuiteKind.TARGET]]), int(counts[ITEM_METRICS[SuiteKind.GENERATED]]), settings=gate
    )
    LOG.log(logging.INFO if can_decide else logging.WARNING, "%s", sentence)


def _log_answers_needed(night: Night, frozen: list[Suite]) -> None:
    """Log how many answers the comparison with the record needs, before anything is trained."""
    if night.settings.gate.loss_error == "line":
        record = record_after(night.inputs.parent, night.registry)
        needed = answers_needed(frozen, record, settings=night.settings.gate, asked=way_of_asking_of(night))
        LOG.info("%s", needed.sentence)


def way_of_asking_of(night: Night) -> str:
    """Return the way in which the night asks for answers that are compared with the record."""
    return way_of_asking(night.settings.model_dump(mode="json"))


def roots_of(night: Night) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Return the problems to train towards (none equivalent to a suite item) and the held-out ones."""
    entries = load_snapshot(night.store, night.line, night.inputs.data_digest).entries
    if night.work.has("split"):
        use = json.loads(night.work.get("split"))
        roots, held_out = (
            tuple(entry.problem for entry in entries if use.get(entry.id) == side) for side in ("roots", "held_out")
        )
        return roots, held_out
    parts = split_by_canonical_form(entries, share=night.settings.ingest.holdout_share)  # frozen by release 0.1.0
    domain = load_domain(night.settings.domain)
    return without_contamination(parts.roots, domain=domain, forbidden=forbidden_keys(night)), parts.held_out


def _split(night: Night, *, domain: Domain, items: frozenset[str], earlier: EarlierUse) -> Split:
    """Return the new problems by use, and log how many are left out."""
    entries = load_snapshot(night.store, night.line, night.inputs.data_digest).entries
    parts = split(entries, domain=domain, share=night.settings.ingest.holdout_share, items=items, earlier=earlier)
    left_out = parts.describe_left_out()
    if left_out is not None:
        LOG.info("%s", left_out)
    return parts


def load_suites(night: Night) -> tuple[Suite, ...]:
    """Return the night's frozen suites, those about its own problems first."""
    with tempfile.TemporaryDirectory() as folder:
        night.work.get_tree("suites", Path(folder))
        frozen = [suites.load(path) for path in sorted(Path(folder).glob("*.jsonl"))]
    return tuple(sorted(frozen, key=lambda suite: list(SuiteKind).index(suite.kind)))


def items_of(night: Night, kind: SuiteKind) -> list[Problem]:
    """Return the items of the night's suites of one kind, in the order of the suites."""
    return [item for suite in load_suites(night) if suite.kind is kind for item in suite.problems]


def held_out_items(night: Night) -> list[Problem]:
    """Return the items about the night's own problems: a shipped suite may be a target too, with the same ids."""
    domain = load_domain(night.settings.domain)
    own = {suite_name(TARGET, part, domain=domain) for part in domain.parts}
    return [
        item
        for suite in load_suites(night)
        if suite.kind is SuiteKind.TARGET and suite.name in own
        for item in suite.problems
    ]


def item_metrics(night: Night) -> dict[str, float]:
    """Return the numbers of own and generated items; none for a night whose suites an older revision has frozen."""
    metrics: dict[str, float] = json.loads(night.work.get("items")) if night.work.has("items") else {}
    return metrics


def forbidden_keys(night: Night) -> frozenset[str]:
    """Return the equivalence keys that nothing trained tonight may have: of suite items of this and all earlier nights."""
    if night.work.has(FORBIDDEN):
        return frozenset(json.loads(night.work.get(FORBIDDEN)))
    if night.work.has("forbidden"):  # one key a line, of earlier revisions
        return frozenset(night.work.get("forbidden").decode().split("\n"))
    return keys_of(load_suites(night), domain=load_domain(night.settings.domain))


def keys_of(frozen: Iterable[Suite], *, domain: Domain) -> frozenset[str]:
    """Return the equivalence keys of all items of that domain, or of one that it is mixed of."""
    return equivalence_keys(_statements(suites.of_line(frozen, domain.name)), domain=domain)


def _statements(frozen: Iterable[Suite]) -> list[str]:
    return [item.statement for suite in frozen for item in suite.problems]


def _keep_split(work: Workspace, parts: Split) -> None:
    sides = {"roots": parts.roots, "held_out": parts.held_out}
    use = {problem.id: side for side, problems in sides.items() for problem in problems}
    work.put("split", json.dumps(use, ensure_ascii=False, sort_keys=True).encode())


def _keep_forbidden(work: Workspace, keys: Collection[str]) -> None:
    work.put(FORBIDDEN, as_json(sorted(keys)))


def _keep_suites(work: Workspace, frozen: list[Suite]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for suite in frozen:
            suite.save(Path(folder) / f"{suite.name}.jsonl")
        work.put_tree("suites", Path(folder))
