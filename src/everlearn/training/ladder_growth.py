"""Grow a ladder: the policy proposes easier variants, the ladder filters them, rollouts measure their pass rates.

After LADDER (Simonds & Yoshiyama 2025, arXiv 2503.00735), with the model in training as the only proposer.
"""

from __future__ import annotations

import logging
import random
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch

from everlearn.domains.contract import load_domain
from everlearn.errors import GrammarError
from everlearn.ladder.tree import (
    DECODED,
    OWN_MOVES,
    PROPOSALS,
    VALID_PROPOSALS,
    Ladder,
    problem_of,
    references_of,
    rung_digest,
)
from everlearn.training.engines import collectives
from everlearn.training.engines.samplers import sampling
from everlearn.training.gpu import device_time
from everlearn.training.journal import Journal
from everlearn.training.judged_variants import unit_of, without_judged_variants
from everlearn.training.memory_plan import keep_freed_memory
from everlearn.training.models.formats.format_choice import choose_format
from everlearn.training.models.policy import load_policy
from everlearn.training.models.precision import use_bf16
from everlearn.training.preflight import check_room
from everlearn.training.rollouts import Solver, attempt, complete, judging, seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from everlearn.domains.contract import Domain
    from everlearn.ladder.tree import Rung
    from everlearn.settings import LadderSettings
    from everlearn.training.job import GrowthJob
    from everlearn.training.models.formats.format import Request

    Proposal = tuple[Rung, str]

LOG = logging.getLogger("everlearn.learn")
T = TypeVar("T")
CHUNK = 64
"""Rungs measured between two reports of progress, and proposals decoded, as one unit of the journal."""
ENOUGH = 0.1
"""Share of valid proposals below which a model that is asked in words cannot propose."""


def grow(
    job: GrowthJob, *, progress: Callable[[int, int], None] | None = None, journal: Journal | None = None
) -> Ladder:
    """Let the policy grow a ladder below the job's roots, and measure its pass rate on each rung.

    `progress` is called with the number of rungs measured and the number of all rungs. Decoded proposals and measured
    rates are kept in `journal`. Called again with the same job and what an interrupted call left in its journal, the
    result is the same, bit for bit on one machine: everything else is a function of the seed.

    Raises:
        ModelError: the base or the adapter cannot be used, or not with vLLM, or its context has no room for an answer.
        ServiceError: vLLM failed.
    """
    journal = journal or Journal()
    keep_freed_memory()
    torch.set_num_threads(job.threads)
    domain = load_domain(job.roots[0].domain)
    policy = load_policy(job.base, job.adapter, compute=job.compute)
    model = policy.snapshot(bf16=use_bf16(job.bf16))
    ladder = plant([root.statement for root in job.roots], domain=domain, forbidden=job.forbidden)
    with (
        device_time(policy.base_model.device),
        judging(domain.name, verifiers=job.verifiers) as judges,
        sampling(job.rollouts, base=job.base, policy=policy, threads=job.threads, version="parent") as sampler,
    ):
        form = choose_format(policy, domain, job.form)
        solver = Solver(policy=policy, model=model, domain=domain, form=form, sampler=sampler, judge=judges.judge)
        check_room(solver, job.roots)
        references = references_of(job.roots, domain=domain)
        barren = frozenset[str]()
        if not job.pseudo_labels:
            barren = without_judged_variants(ladder, solver=solver, references=references, journal=journal)
        extend(
            ladder,
            solver,
            forbidden=job.forbidden,
            settings=job.settings,
            seed=job.seed,
            barren=barren,
            journal=journal,
        )
        digests = list(ladder.rungs)
        measure_rungs(
            solver,
            ladder,
            digests,
            rollouts=job.settings.rollouts,
            temperature=job.settings.answer_temperature,
            seed=seed_of(job.seed, "before"),
            references=references,
            journal=journal,
            progress=progress,
        )
    return ladder


def plant(statements: Sequence[str], *, domain: Domain, forbidden: frozenset[str]) -> Ladder:
    """Return a ladder that has only roots."""
    ladder = Ladder()
    for statement in statements:
        ladder.add(statement, domain=domain, forbidden=forbidden)
    ladder.counts[DECODED] = 0  # a refused root is no proposal
    return ladder


def extend(
    ladder: Ladder,
    solver: Solver,
    *,
    forbidden: frozenset[str],
    settings: LadderSettings,
    seed: int,
    barren: frozenset[str] = frozenset(),
    journal: Journal | None = None,
) -> list[Rung]:
    """Add up to `settings.rungs` variants to the ladder and return them.

    Breadth first from the roots, without those whose digests are `barren`. The budget is divided among the layers, so
    that the tree gets deep: the first d layers together use at most the share d / depth of it. A model that is asked in
    words makes one chunk of proposals first: where too few are valid (`has_failed_to_propose`), the domain's own moves
    derive the variants of this layer, of those below it, and of later growths. A domain whose problems no model can
    write (`model_proposes`) derives all of them.
    """
    rng = random.Random(seed_of(seed, "extend", len(ladder.rungs)))
    layer = [root for root in ladder.roots() if root.digest not in barren]
    added: list[Rung] = []
    has_own_moves = solver.domain.has_moves and (not solver.domain.model_proposes or has_failed_to_propose(ladder))
    for depth in range(settings.depth):
        parents = rng.sample(layer, min(len(layer), settings.breadth))
        proposals = [
            (parent, move) for parent in parents for move in solver.domain.moves for _ in range(settings.tries)
        ]
        variants = None
        if not has_own_moves:
            seeds = [seed_of(seed, "propose", depth, index) for index in range(len(proposals))]
            variants = _proposed_variants(
                ladder, solver, proposals, rng=rng, seeds=seeds, settings=settings, journal=journal or Journal()
            )
        if variants is None:
            has_own_moves = True
            variants = _own_variants(solver.domain, proposals, seed=seed_of(seed, "own moves", depth))
        children: list[Rung] = []
        for index in rng.sample(range(len(proposals)), len(proposals)):
            if len(children) >= settings.rungs * (depth + 1) // settings.depth - len(added):
                break
            parent, move = proposals[index]
            variant = variants[index]
            if variant is None:
                ladder.counts["no such move"] += 1
                continue
            rung = ladder.add(variant, domain=solver.domain, forbidden=forbidden, parent=parent, move=move)
            if rung is not None:
                children.append(rung)
                ladder.counts.update([OWN_MOVES] if has_own_moves else [])
        added += children
        layer = children or layer
    return added


def _proposed_variants(
    ladder: Ladder,
    solver: Solver,
    proposals: Sequence[Proposal],
    *,
    rng: random.Random,
    seeds: Sequence[int],
    settings: LadderSettings,
    journal: Journal,
) -> list[str | None] | None:
    """Return the variant that the policy writes for each pair of parent and move; None for a text that is no variant.

    Returns None instead of a list where a model that is asked in words fails to propose and the domain has its own
    moves.
    """
    variants: list[str | None] = []
    while len(variants) < len(proposals):
        is_trial = solver.form.asks_in_words and not variants
        part = slice(len(variants), CHUNK if is_trial else len(proposals))
        requests = [solver.form.propose(parent.statement, move, rng=rng) for parent, move in proposals[part]]
        texts = _decode_proposals(
            solver, requests, seeds=seeds[part], temperature=settings.temperature, journal=journal
        )
        ladder.count_decoded(len(texts))
        new = [
            solver.form.read_variant(parent.statement, move, asked=request.text, written=text)
            for (parent, move), request, text in zip(proposals[part], requests, texts, strict=True)
        ]
        variants += new
        if solver.form.asks_in_words:
            is_valid = [
                variant is not None and _is_another(variant, parent, domain=solver.domain)
                for (parent, _), variant in zip(proposals[part], new, strict=True)
            ]
            ladder.counts.update({PROPOSALS: len(is_valid), VALID_PROPOSALS: sum(is_valid)})
            if has_failed_to_propose(ladder):
                _warn_of_failure(ladder, domain=solver.domain)
                if solver.domain.has_moves:
                    return None
    return variants


def _is_another(variant: str, parent: Rung, *, domain: Domain) -> bool:
    """Return whether a text is a problem, and not that of `parent` again."""
    try:
        return rung_digest(domain.problem(variant).statement, domain=domain) != parent.digest
    except GrammarError:
        return False


def has_failed_to_propose(ladder: Ladder) -> bool:
    """Return whether fewer than `ENOUGH` of the proposals asked in words so far are valid."""
    return ladder.counts[VALID_PROPOSALS] < ENOUGH * ladder.counts[PROPOSALS]


def _warn_of_failure(ladder: Ladder, *, domain: Domain) -> None:
    """Log how few proposals are valid, and where the variants come from instead."""
    instead = "its own moves make" if domain.has_moves else "it has no moves of its own to make"
    LOG.warning(
        "%d of %d proposals are variants, fewer than %d %%: domain %s: %s the ladder",
        ladder.counts[VALID_PROPOSALS],
        ladder.counts[PROPOSALS],
        round(100 * ENOUGH),
        domain.name,
        instead,
    )


def _own_variants(domain: Domain, proposals: Sequence[Proposal], *, seed: int) -> list[str | None]:
    """Return what the domain's own moves make of each parent and move."""
    return [
        domain.ease(parent.statement, move, rng=random.Random(seed_of(seed, index)))
        for index, (parent, move) in enumerate(proposals)
    ]


def _decode_proposals(
    solver: Solver, requests: Sequence[Request], *, seeds: Sequence[int], temperature: float, journal: Journal
) -> list[str]:
    """Return the policy's text for each request, decoded in chunks of prompts of similar length."""

    def decode(chosen: list[int]) -> list[str]:
        rows = complete(
            solver,
            [requests[index].ids for index in chosen],
            group=1,
            seeds=[seeds[index] for index in chosen],
            temperature=temperature,
            copying=solver.form.copies_markers,
        )
        return [solver.form.written(answers[0]) for answers in rows]

    texts: dict[int, str] = {}
    for chunk in _chunks(sorted(range(len(requests)), key=lambda index: len(requests[index].ids))):
        given = [[requests[index].text, str(seeds[index])] for index in chunk]
        texts |= zip(chunk, journal.once("propose", given, partial(decode, chunk)), strict=True)
    return [texts[index] for index in range(len(requests))]


def measure_rungs(
    solver: Solver,
    ladder: Ladder,
    digests: Sequence[str],
    *,
    rollouts: int,
    temperature: float,
    seed: int,
    references: Mapping[str, str],
    after: bool = False,
    journal: Journal | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Measure the policy's pass rate on these rungs and record it in the ladder, as before or after the training.

    `references` are those of the roots, by digest.
    """
    journal = journal or Journal()
    problems = {
        digest: problem_of(ladder.rungs[digest], domain=solver.domain.name, references=references) for digest in digests
    }

    def measure(chunk: list[str]) -> list[int]:
        mine = collectives.share([problems[digest] for digest in chunk])
        groups = collectives.gather(attempt(solver, mine, group=rollouts, seed=seed, temperature=temperature))
        return [group.passed for group in groups]

    measured = 0
    for chunk in _chunks(digests):
        passes = journal.once(
            "rate", [str(seed), *(unit_of(problems[digest]) for digest in chunk)], partial(measure, chunk)
        )
        for digest, passed in zip(chunk, passes, strict=True):
            ladder.set_pass_rate(digest, rollouts=rollouts, passed=passed, after=after)
        measured += len(chunk)
        if progress is not None:
            progress(measured, len(digests))


def _chunks(items: Sequence[T]) -> list[list[T]]:
    return [list(items[start : start + CHUNK]) for start in range(0, len(items), CHUNK)]
