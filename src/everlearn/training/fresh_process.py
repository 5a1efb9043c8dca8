"""Load published bytes in a fresh process, as a consumer does, and compare them with what was trained.

    python -m everlearn.training.fresh_process BASE ADAPTER PROBES.jsonl [DEVICE [THREADS [QUANTIZATION]]]

A probe is a problem with the answer and the log-probability of the trainer's policy (`probe`). Here peft loads the
adapter onto the base from `AutoModelForCausalLM`, in float32 on that device, quantized as in training (`compute`): the
registry's bytes, peft's reading of them and our own forward pass have to agree. Prints one JSON object,
`FreshProcessReport`, or `{"failed": why}` where peft cannot read the adapter, and exits with 0 whatever it says;
`everlearn.gate.checks` judges it. Any other failure, such as too little memory, says nothing about the adapter and is
an error.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from everlearn.settings import ComputeSettings, FormatSettings, RolloutSettings
from everlearn.training.engines.samplers import sampling
from everlearn.training.gpu import device_time
from everlearn.training.models.formats.format_choice import choose_format
from everlearn.training.models.llama import token_logprobs
from everlearn.training.models.policy import OWN_CODE_ONLY, device_of, load_policy
from everlearn.training.models.quantization import place, quantized
from everlearn.training.models.stop_tokens import stop_tokens
from everlearn.training.rollouts import Solver, attempt, batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.domains.contract import Domain
    from everlearn.problem import Problem
    from everlearn.training.models.llama import Model

BATCH_TOKENS = 1024
"""Tokens of a batch: its logits, over a vocabulary of 150,000, take 0.6 GB."""
DECODED_TOKENS = 4096
"""Tokens of a batch that is decoded, which has logits of one token an answer; keys and values of a 7B take 0.5 to 4 GB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Tokens of a prompt and of the trainer's greedy answer, and the answer's log-probability in nats."""

    prompt: list[int]
    answer: list[int]
    logprob: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshProcessReport:
    """Result of the comparison. `worst_gap` is in nats a token; lengths are means in tokens.

    `changed` says whether the adapter changes any answer of the base, `finite` whether all logits are finite.
    """

    probes: int
    same_answers: int
    worst_gap: float
    changed: bool
    finite: bool
    length_before: float
    length_after: float


class UnreadableAdapterError(Exception):
    """peft cannot read the adapter's files."""


def probe(
    base: Path,
    adapter: Path,
    problems: Sequence[Problem],
    *,
    domain: Domain,
    seed: int,
    threads: int,
    compute: ComputeSettings | None = None,
    form: FormatSettings | None = None,
    rollouts: RolloutSettings | None = None,
) -> list[Probe]:
    """Return the greedy answer of the trainer's sampler to each problem, and its log-probability in float32.

    Raises:
        ModelError: the base or the adapter cannot be used, or not with vLLM.
        ServiceError: vLLM failed.
    """
    torch.set_num_threads(threads)
    exact = (compute or ComputeSettings()).model_copy(update={"dtype": "float32"})
    policy = load_policy(base, adapter, compute=exact)
    model = policy.snapshot()
    chosen = choose_format(policy, domain, form or FormatSettings())
    with (
        device_time(policy.base_model.device),
        sampling(rollouts or RolloutSettings(), base=base, policy=policy, threads=threads, version="probed") as sampler,
    ):
        solver = Solver(policy=policy, model=model, domain=domain, form=chosen, sampler=sampler)
        attempts = attempt(solver, problems, group=1, seed=seed, greedy=True)
        groups = [group for group in attempts if group.is_asked]
        answers = [group.completions[0].ids for group in groups]
        logprobs = _sums(model, [group.prompt for group in groups], answers)
    return [
        Probe(prompt=group.prompt, answer=answer, logprob=logprob)
        for group, answer, logprob in zip(groups, answers, logprobs, strict=True)
    ]


@torch.no_grad()
def _sums(model: Model, prompts: Sequence[list[int]], answers: Sequence[list[int]]) -> list[float]:
    """Return the log-probability of each answer by the forward pass that trains, in batches of similar length."""
    sums: dict[int, float] = {}
    lengths = [len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)]
    for batch in batches(lengths, budget=BATCH_TOKENS):
        scores, mask = token_logprobs(model, [prompts[index] for index in batch], [answers[index] for index in batch])
        sums |= dict(zip(batch, (scores * mask).sum(1).tolist(), strict=True))
    return [sums[index] for index in range(len(answers))]


@torch.no_grad()
def check(
    base: Path, adapter: Path, probes: Sequence[Probe], *, compute: ComputeSettings | None = None
) -> FreshProcessReport:
    """Compare the trainer's answers with what transformers and peft compute from the files.

    Raises UnreadableAdapterError if peft cannot read the adapter.

    Greedy decoding gives an answer if and only if each of its tokens is the most probable one after those before it. So
    one forward pass over prompt and answer shows both the log-probability and whether the answer is the same. Only
    answers that differ are decoded, for their length.
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    import everlearn.training.models.marked_llama  # noqa: F401 (registers the default base's architecture)

    exact = (compute or ComputeSettings(device="cpu")).model_copy(update={"dtype": "float32"})
    device = device_of(exact)
    options = quantized(exact, device=device)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, **OWN_CODE_ONLY, **options)
    plain = place(plain.eval(), device=device)
    # The trainer decodes greedily; a repetition penalty or another default of the base's own would change the answers.
    ends = stop_tokens(base, AutoTokenizer.from_pretrained(base, **OWN_CODE_ONLY))
    plain.generation_config = GenerationConfig(eos_token_id=sorted(ends), pad_token_id=0)
    before = _answers(plain, probes, _scored(plain, probes))  # first, since peft changes `plain` in place
    try:
        model = PeftModel.from_pretrained(plain, adapter).eval()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        if "memory" in str(error):
            raise
        raise UnreadableAdapterError(f"{type(error).__name__}: {error}") from error
    scored = _scored(model, probes)
    after = _answers(model, probes, scored)
    gaps = [abs(each.logprob - item.logprob) / len(item.answer) for each, item in zip(scored, probes, strict=True)]
    return FreshProcessReport(
        probes=len(probes),
        same_answers=sum(each.is_greedy for each in scored),
        worst_gap=max(gaps, default=0.0),
        changed=before != after,
        finite=all(each.finite for each in scored),
        length_before=sum(map(len, before)) / max(1, len(before)),
        length_after=sum(map(len, after)) / max(1, len(after)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """The trainer's answer as another model sees it: its log-probability, and whether greedy decoding gives it."""

    logprob: float
    is_greedy: bool
    finite: bool


def _scored(model: Any, probes: Sequence[Probe]) -> list[_Scored]:
    """Score the trainer's answer to each probe by the model, in batches of similar length, padded on the right."""
    scored: dict[int, _Scored] = {}
    rows = [item.prompt + item.answer for item in probes]
    for batch in batches(list(map(len, rows)), budget=BATCH_TOKENS):
        longest = max(len(rows[index]) for index in batch)
        ids = torch.tensor([rows[index] + [0] * (longest - len(rows[index])) for index in batch])
        mask = (torch.arange(longest) < torch.tensor([[len(rows[index])] for index in batch])).long()
        logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False).logits
        for index, row in zip(batch, logits, strict=True):
            front = len(probes[index].prompt) - 1
            scored[index] = _score(row[front : len(rows[index]) - 1].float().cpu(), torch.tensor(probes[index].answer))
    return [scored[index] for index in range(len(probes))]


def _score(logits: torch.Tensor, answer: torch.Tensor) -> _Scored:
    """(tokens, vocabulary), (tokens,) -> what the logits say about the answer."""
    return _Scored(
        logprob=float(torch.log_softmax(logits, dim=-1).gather(1, answer[:, None]).sum()),
        is_greedy=bool((logits.argmax(dim=-1) == answer).all()),
        finite=bool(torch.isfinite(logits).all()),
    )


def _answers(model: Any, probes: Sequence[Probe], scored: Sequence[_Scored]) -> list[list[int]]:
    """Return the model's own greedy answers, each at most as long as the trainer's."""
    answers = [item.answer for item in probes]
    others = [index for index, each in enumerate(scored) if not each.is_greedy]
    for batch in batches(
        [len(probes[index].prompt) + len(probes[index].answer) for index in others], budget=DECODED_TOKENS
    ):
        chosen = [others[place] for place in batch]
        for index, answer in zip(chosen, _decode(model, [probes[index] for index in chosen]), strict=True):
            answers[index] = answer
    return answers


def _decode(model: Any, items: Sequence[Probe]) -> list[list[int]]:
    """Decode greedily with transformers' own `generate`: prompts are padded on the left, answers cut after their end."""
    longest = max(len(item.prompt) for item in items)
    ids = torch.tensor([[0] * (longest - len(item.prompt)) + item.prompt for item in items], device=model.device)
    places = torch.arange(longest) >= longest - torch.tensor([[len(item.prompt)] for item in items])
    limit = max(len(item.answer) for item in items)
    out = model.generate(
        input_ids=ids, attention_mask=places.long().to(model.device), do_sample=False, max_new_tokens=limit
    )
    ends = set(model.generation_config.eos_token_id)
    return [_cut(row, ends)[: len(item.answer)] for row, item in zip(out[:, longest:].tolist(), items, strict=True)]


def _cut(row: list[int], ends: set[int]) -> list[int]:
    """Return the tokens up to the first end token, with it."""
    return row[: next((place for place, token in enumerate(row, start=1) if token in ends), len(row))]


def main(arguments: Sequence[str]) -> None:
    """Read BASE, ADAPTER, PROBES.jsonl, and perhaps DEVICE, THREADS and QUANTIZATION, and print one line of JSON."""
    base, adapter, probes = map(Path, arguments[:3])
    device, threads, quantization = [*arguments[3:], *("cpu", "1", "none")[len(arguments) - 3 :]]
    compute = ComputeSettings.model_validate({"device": device, "quantization": quantization})
    torch.set_num_threads(int(threads))
    rows = [Probe(**json.loads(line)) for line in probes.read_text().splitlines()]
    try:
        report = asdict(check(base, adapter, rows, compute=compute))
    except UnreadableAdapterError as error:
        report = {"failed": str(error)}
    print(json.dumps(report))  # noqa: T201 (the result of this command)


if __name__ == "__main__":
    main(sys.argv[1:])
