"""Attack a verifier with a small model that our own GRPO trains against it: what it learns to be rewarded for, it shows.

The model writes single characters. It first learns the notation of some right answers, so that what it samples looks
like answers at all; after that nothing but the verifier tells it what to write. Rewarded answers are judged a second
time.
"""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from everlearn.counters import cpu_seconds, snapshot
from everlearn.domains.certification.certificate import LearnedAttack
from everlearn.domains.hidden_reference import hide_reference
from everlearn.domains.pool import second_judgement
from everlearn.errors import ModelError
from everlearn.ladder.tree import references_of
from everlearn.settings import LearnSettings
from everlearn.training.ladder_growth import plant
from everlearn.training.models.formats.format import Request
from everlearn.training.models.hub import adapted_modules
from everlearn.training.models.llama import Llama, geometry, token_logprobs
from everlearn.training.models.policy import LoadedBase
from everlearn.training.rollouts import judging
from everlearn.training.train_step import train_step
from everlearn.training.training_run import start_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.domains.contract import Domain
    from everlearn.domains.contract_laws import ContractSample
    from everlearn.problem import Answer, Problem
    from everlearn.training.engines.decode import Completion
    from everlearn.training.training_run import TrainingRun

LOG = logging.getLogger("everlearn.learn")
NOTATION_SHARE = 0.25
"""CPU seconds for the notation, as a share of those of the attack, which come on top."""
PROMPT, LONGEST = 48, 160
"""Characters of a question that the model sees, the last ones, and most characters of an answer."""
BATCH = 16
RECHECKED, TRAINING_SHARE = 400, 0.7
"""Most rewarded answers that are judged a second time, and the share of the time by the clock that is left for training."""
SEED = 0
SHOWN = 5  # examples, each of at most 120 characters
SETTINGS = LearnSettings(
    prompts=16,
    group=8,
    rate=3e-3,
    steps=1_000_000,
    curriculum="uniform",
    temperature=1.2,
    warmup=1,
    decay=1.0,
    max_kl=1e9,
    min_entropy=0.0,
    max_unended=1.0,
    bf16=False,
)


def attack_by_learning(
    domain: Domain, samples: Sequence[ContractSample], *, seconds: float, wall_s: float = 600.0
) -> LearnedAttack:
    """Train a small model against the verifier for that many CPU seconds, and judge again what was rewarded.

    `wall_s` limits the whole by the clock: a verifier that waits more than it computes leaves fewer CPU seconds.

    Raises:
        ModelError: the training cannot go on, as where a reward is neither 0 nor 1.
    """
    rng, begun = random.Random(f"learned attack {SEED}"), time.monotonic()
    answers = [sample for sample in samples if sample.answer and len(sample.answer) < LONGEST]
    form = _Characters(domain, answers)
    weights, shape = _untrained(form)
    _learn_notation(weights, Llama(weights, shape), form, answers, seconds=NOTATION_SHARE * seconds, rng=rng)
    base = LoadedBase(
        model=Llama({name: tensor.detach() for name, tensor in weights.items()}, shape),
        tokenizer=cast("Any", None),
        targets=adapted_modules(LlamaForCausalLM(_config(form))),
        chosen="small model of characters",
        stops=form.stops,
    )
    run = _start(base, domain, samples, form=form)
    started, rollouts = cpu_seconds(), snapshot()["rollouts"]
    with judging(domain.name, verifiers=1) as judges:
        run.judge = judges.judge
        while run.stopped is None and (used := (cpu_seconds() - started) / seconds) < 1:
            train_step(run, budget_used=min(1.0, used))
            if time.monotonic() - begun > TRAINING_SHARE * wall_s:
                break
    problems = {sample.problem.statement: sample.problem for sample in samples}
    pairs = sorted({(row["statement"], row["answer"]) for row in run.rewarded})
    found = [(problems[statement], answer) for statement, answer in pairs if statement in problems]
    refused = _contradicted(domain, found, rng=rng, until=begun + wall_s)
    return LearnedAttack(
        cpu_seconds=round(cpu_seconds() - started, 1),
        rollouts=snapshot()["rollouts"] - rollouts,
        rewarded=len(found),
        contradicted=None if refused is None else len(refused),
        examples=tuple(_shown(problem, answer) for problem, answer in (refused or [])[:SHOWN]),
    )


def _start(base: LoadedBase, domain: Domain, samples: Sequence[ContractSample], *, form: _Characters) -> TrainingRun:
    problems = [sample.problem for sample in samples]
    ladder = plant([problem.statement for problem in problems], domain=domain, forbidden=frozenset())
    if not ladder.rungs:
        raise ModelError(f"domain {domain.name} reads none of its problems again")
    return start_run(
        base.policy(seed=SEED),
        ladder,
        domain=domain,
        settings=SETTINGS,
        seed=SEED,
        references=references_of(problems, domain=domain),
        form=form,
    )


def _config(form: _Characters) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(form.letters) + 2,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=PROMPT + LONGEST + 16,
        tie_word_embeddings=False,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )


def _untrained(form: _Characters) -> tuple[dict[str, torch.Tensor], Any]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        module = LlamaForCausalLM(_config(form))
    return dict(module.named_parameters()), geometry(module.config)


def _learn_notation(
    weights: dict[str, torch.Tensor],
    model: Llama,
    form: _Characters,
    answers: Sequence[ContractSample],
    *,
    seconds: float,
    rng: random.Random,
) -> None:
    """Train all weights on right answers. They may be answered by heart: it is their notation that counts."""
    optimizer = torch.optim.AdamW(weights.values(), lr=3e-3)
    started = cpu_seconds()
    while answers and cpu_seconds() - started < seconds:
        batch = rng.choices(answers, k=BATCH)
        prompts = [form.prompt(sample.problem, rng=rng).ids for sample in batch]
        scores, real = token_logprobs(model, prompts, [[*form.ids(sample.answer or ""), 1] for sample in batch])
        (-(scores * real).sum() / real.sum()).backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    for tensor in weights.values():
        tensor.requires_grad = False


def _contradicted(
    domain: Domain, found: Sequence[tuple[Problem, str]], *, rng: random.Random, until: float
) -> list[tuple[Problem, str]] | None:
    """Return the rewarded answers that the second judgement does not call right; None in a domain without one."""
    if not domain.has_recheck:
        return None
    refused = []
    with second_judgement(domain.name, workers=1) as judge:  # in a process with limits, as the first judgement
        for pair in rng.sample(found, min(RECHECKED, len(found))):
            if time.monotonic() > until:
                break
            if not judge([pair])[0].is_correct:
                refused.append(pair)
    return refused


def _shown(problem: Problem, answer: str) -> tuple[str, str]:
    return problem.statement[:120], hide_reference(answer, problem.reference)[:120] if problem.reference else answer[
        :120
    ]


class _Characters:
    """A format of single characters: the end of the question, and the answer."""

    copies_markers = False
    asks_in_words = False
    stops = frozenset({1})

    def __init__(self, domain: Domain, answers: Sequence[ContractSample]) -> None:
        """Bind it to a domain. It knows ASCII, and the letters of the answers."""
        self._domain = domain
        texts = [sample.answer or "" for sample in answers]
        self._longest = max(map(len, texts), default=LONGEST) + 1
        self.letters = sorted({*map(chr, range(32, 127)), "\n"}.union(*texts))
        self._ids = {letter: number + 2 for number, letter in enumerate(self.letters)}

    def ids(self, text: str) -> list[int]:
        """Return the tokens of a text; characters that are none are left out."""
        return [self._ids[letter] for letter in text if letter in self._ids]

    def prompt(self, problem: Problem, *, rng: random.Random, solved: Sequence[Answer] = ()) -> Request:  # noqa: ARG002
        """Return the last characters of the question, without examples."""
        text = f"? {self._domain.question(problem)[-PROMPT:]}\n"  # never empty, whatever letters the question has
        return Request(text=text, ids=self.ids(text))

    def propose(self, statement: str, move: str, *, rng: random.Random) -> Request:
        """Refuse: this model solves only."""
        raise NotImplementedError

    def read_variant(self, statement: str, move: str, *, asked: str, written: str) -> str | None:
        """Refuse: this model solves only."""
        raise NotImplementedError

    def max_tokens(self, prompt: Sequence[int]) -> int:  # noqa: ARG002
        """Return the length of the longest known answer and its end."""
        return self._longest

    def written(self, completion: Completion) -> str:
        """Return the text; empty if it was truncated."""
        return "".join(self.letters[token - 2] for token in completion.ids if token > 1) if completion.finished else ""

    def answer(self, completion: Completion) -> str:
        """Return the text, as it is."""
        return self.written(completion)
