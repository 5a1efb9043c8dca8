"""Checks before the first gradient: faults that raise no error and show in no loss, only in a model that learns nothing.

`check_room` runs before the ladder grows, `check_identity` and `check_policy` when a training is prepared, with GRPO or
supervised, `check_sampler` on the answers of its first step, `check_rewards` in each step, and `check_saved` on the
adapter that was written. Each fault is named in one sentence. Adapters of vLLM servers are checked at each load
(`engines.vllm`).
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

import torch

from everlearn.errors import ModelError
from everlearn.registry.base_identity import is_same_base
from everlearn.training.engines.sampled_weights import other_weights
from everlearn.training.models.adapter import load_adapter
from everlearn.training.models.fingerprint import fingerprint
from everlearn.training.models.formats.chat_template import special_tokens
from everlearn.training.models.llama import Model, answer_logprobs, token_logprobs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from everlearn.problem import Problem
    from everlearn.training.engines.decode import Completion
    from everlearn.training.models.policy import Policy
    from everlearn.training.rollouts import Group, Solver
    from everlearn.training.training_run import TrainingRun

LOG = logging.getLogger("everlearn.learn")
REPEATED, ALONE, ALIKE = 0.01, {torch.float32: 1e-3, torch.bfloat16: 0.5}, 0.1
"""Nats a token by which log-probabilities may differ: of the same pass repeated, of an answer alone and in a batch (rounding
depends on the shape), and on average between sampler and trainer."""
TEMPERATURES = (0.5, 0.7, 1.0, 1.4)
"""Temperatures that a sampler may have been left at."""
NEVER = -100.0
"""Log-probability, in nats, of a token that is as good as masked."""
CHECKED = 8
"""Problems whose prompts are checked."""
GROUPS = 4
"""Groups of the first step whose answers are scored again."""


def check_identity(
    base: Path,
    identity: str | None,
    *,
    of: str = "the night was opened with",
    otherwise: str = "give the night up with `everlearn cycle --abandon`",
) -> None:
    """Raise ModelError if the base's files are not those with that identity; None: nothing is known.

    `of` says whose identity it is, `otherwise` what else there is to do than to restore the files.
    """
    if identity is not None and not is_same_base(fingerprint(base), identity):
        raise ModelError(
            f"the files of base model {base} (weights, tokenizer, chat template) are not those that {of}: restore them, or "
            f"{otherwise}"
        )


@torch.no_grad()
def check_policy(solver: Solver, problems: Sequence[Problem]) -> None:
    """Check the forward pass of an update from the solver's weights, the end tokens, and the prompts of the first problems.

    Raises:
        ModelError: dropout is on, padding changes an answer, no end token can be sampled, or a prompt is malformed.
    """
    model = solver.policy.trained(solver.model)
    _check_passes(model)
    _check_ends(model, solver.policy)
    _check_prompts(solver, problems[:CHECKED])


def _check_passes(model: Model) -> None:
    """Score two answers twice and alone, behind prompts of different lengths."""
    rng = random.Random(0)
    tokens = [[rng.randrange(model.vocabulary) for _ in range(count)] for count in (3, 9, 6, 4)]
    prompts, answers = tokens[:2], tokens[2:]
    allowed = ALONE[torch.float32 if model.head.dtype == torch.float32 else torch.bfloat16]
    together, mask = token_logprobs(model, prompts, answers)
    again, _ = token_logprobs(model, prompts, answers)
    if float((together - again).abs().max()) > REPEATED:
        raise ModelError("the model gives other log-probabilities each time: dropout is on, switch it off (`eval`)")
    for prompt, answer, row, real in zip(prompts, answers, together, mask, strict=True):
        alone, _ = token_logprobs(model, [prompt], [answer])
        if float((alone[0, : len(answer)] - row[real]).abs().max()) > allowed:
            raise ModelError("an answer's log-probability depends on its batch: prompts are padded on the wrong side")


def _check_ends(model: Model, policy: Policy) -> None:
    if not policy.stops:
        raise ModelError("the model has no end token: set eos_token_id in its generation_config.json")
    for end in sorted(policy.stops):
        scores, mask = token_logprobs(model, [[end, end]], [[end]])
        if not bool(mask.all()) or not bool((scores > NEVER).all()):
            raise ModelError(f"end token {end} is masked: the model can never end an answer, or would not learn to")


def _check_prompts(solver: Solver, problems: Sequence[Problem]) -> None:
    tokenizer, form = solver.policy.tokenizer, solver.form
    specials = [token for token in special_tokens(tokenizer) if len(token) > 1]
    begin = tokenizer.bos_token_id
    for problem in problems:
        if begin is not None and form.prompt(problem, rng=random.Random(0)).ids[:2] == [begin, begin]:
            raise ModelError("prompts begin with two BOS tokens: the tokenizer adds one to that of the chat template")
    questions = [solver.domain.question(problem) for problem in problems] if form.asks_in_words else []
    if questions and all(any(token in question for token in specials) for question in questions):
        raise ModelError(
            f"each question of domain {solver.domain.name} contains a special token of the model: the chat template is applied "
            "twice, since a domain asks in plain words and the format adds the template"
        )


def check_room(solver: Solver, problems: Sequence[Problem]) -> None:
    """Warn if prompts of new problems leave less room in the context than an answer may have.

    Raises:
        ModelError: all of them do.
    """
    if solver.context is None:
        return
    prompts = [solver.form.prompt(problem, rng=random.Random(0)).ids for problem in problems]
    tight = [prompt for prompt in prompts if solver.limit(prompt) < solver.form.max_tokens(prompt)]
    if not tight:
        return
    shortest = min(tight, key=len)
    facts = (
        f"the shortest has {len(shortest)} tokens, an answer may have {solver.form.max_tokens(shortest)} (format.max_tokens), and "
        f"the context has {solver.context}"
    )
    if len(tight) == len(prompts):
        raise ModelError(
            f"no prompt leaves room for an answer of full length: {facts}; lower format.max_tokens, or shorten format.system and format.examples"
        )
    LOG.warning(
        "%d of %d prompts leave less room than an answer may have, so theirs are cut: %s",
        len(tight),
        len(prompts),
        facts,
    )


@torch.no_grad()
def check_sampler(run: TrainingRun, groups: Sequence[Group]) -> None:
    """Score the sampled answers again, unrounded, with the current policy, which should have sampled them.

    Raises:
        ModelError: they were sampled by the bare base or at another temperature, or their log-probabilities differ.
    """
    chosen, at = groups[:GROUPS], run.settings.temperature
    rows = [row for group in chosen for row in group.completions]
    once = _first_of_equals([group.completions for group in chosen])
    theirs = torch.tensor([score for row in rows for score in row.logprobs])[once]

    def scored(other: Model, temperature: float) -> torch.Tensor:
        prompts, ids = [group.prompt for group in chosen], [row.ids for row in rows]
        return answer_logprobs(other, prompts, ids, temperature=temperature)[once]

    trained = run.policy.trained(run.policy.snapshot())
    ours = scored(trained, at)
    others = {
        f"at temperature {other:g} instead of {at:g}": scored(trained, other) for other in TEMPERATURES if other != at
    }
    others["by the base model without its adapter"] = scored(run.policy.base_model, at)
    found = other_weights(theirs, ours, others)
    if found is not None:
        raise ModelError(f"answers were sampled {found}: nothing would be learned from them")
    gap = float((theirs - ours).abs().mean())
    if not gap <= ALIKE:
        raise ModelError(
            f"sampler and trainer differ by {gap:.3g} nats a token, more than {ALIKE:g}: they use other weights"
        )


def _first_of_equals(groups: Sequence[Sequence[Completion]]) -> torch.Tensor:
    """(tokens,) mask: True where a token ends a beginning that no earlier answer of its group has.

    Equal beginnings have equal log-probabilities, rounding errors included, so each one may count only once.
    """
    first: list[bool] = []
    for rows in groups:
        seen: set[tuple[int, ...]] = set()
        for row in rows:
            for end in range(1, len(row.ids) + 1):
                beginning = tuple(row.ids[:end])
                first.append(beginning not in seen)
                seen.add(beginning)
    return torch.tensor(first)


def check_rewards(groups: Sequence[Group], *, domain: str) -> None:
    """Raise ModelError unless each reward is 0 or 1: any other number would be averaged away, or would decide alone."""
    wrong = {reward for group in groups for reward in group.rewards} - {0.0, 1.0}
    if wrong:
        raise ModelError(f"a reward is {wrong.pop()}, neither 0 nor 1: repair the verifier of domain {domain}")


def check_saved(policy: Policy, adapter: Path) -> None:
    """Raise ModelError if the file of the adapter lacks a tensor that was trained, or holds another value of it."""
    _, tensors = load_adapter(adapter)
    for name, pair in policy.lora.items():
        for side, tensor in zip("AB", pair, strict=True):
            saved = tensors.get(f"base_model.model.{name}.lora_{side}.weight")
            if saved is None or not torch.equal(saved, tensor.detach().cpu()):
                raise ModelError(f"adapter {adapter} does not hold what was trained at {name}: do not publish it")
