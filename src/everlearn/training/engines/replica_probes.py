"""Probes that a replica answers after each load: its log-probabilities must be those of our own forward pass."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import torch

from everlearn.training.engines.sampled_weights import other_weights
from everlearn.training.engines.vllm_api import CompletionRequest, ReplicaError
from everlearn.training.models.llama import answer_logprobs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everlearn.training.engines.decode import Completion
    from everlearn.training.models.llama import Model
    from everlearn.training.models.policy import Policy

PROBES, PROBE_TOKENS, PROBE_TEMPERATURE = 16, 16, 0.5


def probes_of(policy: Policy) -> list[CompletionRequest]:
    """Return requests for prompts of random tokens, always the same ones: adapters differ most clearly on these."""
    rng = random.Random(0)
    return [
        CompletionRequest(
            prompt=[rng.randrange(policy.base_model.vocabulary) for _ in range(8)],
            seed=seed,
            limit=PROBE_TOKENS,
            temperature=PROBE_TEMPERATURE,
        )
        for seed in range(PROBES)
    ]


def check_logprobs(
    model: Model,
    probes: Sequence[CompletionRequest],
    answers: Sequence[Completion],
    *,
    tolerance: float,
    others: Mapping[str, Model],
) -> None:
    """Raise ReplicaError unless the log-probabilities of the answers are our own, and not those of `others`."""
    theirs = torch.cat([torch.tensor(answer.logprobs) for answer in answers])
    ours = _scores(model, probes, answers, temperature=PROBE_TEMPERATURE)
    scores = {name: _scores(other, probes, answers, temperature=PROBE_TEMPERATURE) for name, other in others.items()}
    other = other_weights(theirs, ours, scores)
    if other is not None:
        raise ReplicaError(f"it answers with {other} instead of the adapter that it just loaded; restart it")
    gap = float((ours - theirs).abs().mean())
    if gap <= tolerance:
        return
    message = f"its log-probabilities differ from ours by {gap:.3g} nats a token, more than {tolerance:g}"
    if float((_scores(model, probes, answers, temperature=1.0) - theirs).abs().mean()) <= tolerance:
        message = f"{message}; they are those before the temperature: start it with --logprobs-mode processed_logprobs"
    raise ReplicaError(message)


@torch.no_grad()
def _scores(
    model: Model, probes: Sequence[CompletionRequest], answers: Sequence[Completion], *, temperature: float
) -> torch.Tensor:
    """Return our log-probability of each token of the answers, in one row."""
    prompts, ids = [probe.prompt for probe in probes], [answer.ids for answer in answers]
    return answer_logprobs(model, prompts, ids, temperature=temperature)
