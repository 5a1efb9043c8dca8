"""Load published bytes in a fresh process, as a consumer would, and see that they are what was trained.

    python -m everlearn.training.fresh_process BASE ADAPTER PROBES.jsonl

The probes are problems with the answer and the log-probability that the trainer's policy gave (`probe`). Here the
adapter is loaded by `peft` onto the base from `AutoModelForCausalLM`, in float32, and has to give the same: the
registry's bytes, peft's reading of them and our own forward pass all agree, or the night does not publish. Prints one
JSON object, `SmokeReport`, and exits with 0 whether or not the checks hold; `everlearn.gate.checks` judges it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from everlearn.training.models.llama import token_logprobs
from everlearn.training.models.policy import load_policy
from everlearn.training.rollouts import attempt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.domains.contract import Domain
    from everlearn.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Tokens of a prompt and of the trainer's greedy answer, and the answer's log-probability in nats."""

    prompt: list[int]
    answer: list[int]
    logprob: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SmokeReport:
    """What the fresh process saw. `worst_gap` is in nats a token; lengths are means in tokens."""

    probes: int
    same_answers: int
    worst_gap: float
    changed: bool
    finite: bool
    length_before: float
    length_after: float


def probe(
    base: Path, adapter: Path, problems: Sequence[Problem], *, domain: Domain, seed: int, threads: int
) -> list[Probe]:
    """The trainer's side: greedy answers of the policy and their log-probabilities, in float32."""
    torch.set_num_threads(threads)
    policy = load_policy(base, adapter)
    model = policy.merged()
    groups = attempt(
        policy, model, [problem.statement for problem in problems], domain=domain, group=1, seed=seed, greedy=True
    )
    probes = []
    for group in groups:
        answer = group.completions[0].ids
        with torch.no_grad():
            scores, mask = token_logprobs(model, [group.prompt], [answer])
        probes.append(Probe(prompt=group.prompt, answer=answer, logprob=float((scores * mask).sum())))
    return probes


@torch.no_grad()
def check(base: Path, adapter: Path, probes: Sequence[Probe]) -> SmokeReport:
    """The consumer's side, through transformers and peft alone."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    import everlearn.training.models.marked_llama  # noqa: F401 (registers the default base's architecture)

    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True).eval()
    bare = [_generate(plain, item) for item in probes]
    model = PeftModel.from_pretrained(plain, adapter).eval()
    gaps, same, finite, answers = [], 0, True, []
    for item in probes:
        ids = torch.tensor([item.prompt + item.answer])
        logits = model(input_ids=ids).logits[0, len(item.prompt) - 1 : -1].float()
        finite = finite and bool(torch.isfinite(logits).all())
        scores = torch.log_softmax(logits, dim=-1).gather(1, ids[0, len(item.prompt) :, None])
        gaps.append(abs(float(scores.sum()) - item.logprob) / len(item.answer))
        answers.append(_generate(model, item))
        same += answers[-1] == item.answer
    return SmokeReport(
        probes=len(probes),
        same_answers=same,
        worst_gap=max(gaps, default=0.0),
        changed=bare != answers,
        finite=finite,
        length_before=sum(map(len, bare)) / max(1, len(bare)),
        length_after=sum(map(len, answers)) / max(1, len(answers)),
    )


def _generate(model: torch.nn.Module, item: Probe) -> list[int]:
    ids = torch.tensor([item.prompt])
    out = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=max(1, len(item.answer)),
    )  # type: ignore[operator]  # fmt: skip
    return list(out[0, len(item.prompt) :].tolist())


def main(arguments: Sequence[str]) -> None:
    """`BASE ADAPTER PROBES.jsonl` -> one line of JSON."""
    torch.set_num_threads(1)
    base, adapter, probes = map(Path, arguments)
    rows = [Probe(**json.loads(line)) for line in probes.read_text().splitlines()]
    report = check(base, adapter, rows)
    print(json.dumps(asdict(report)))  # noqa: T201 (the answer of this command)


if __name__ == "__main__":
    main(sys.argv[1:])
