"""Load published bytes in a fresh process, as a consumer does, and compare them with what was trained.

    python -m everlearn.training.fresh_process BASE ADAPTER PROBES.jsonl [DEVICE]

A probe is a problem with the answer and the log-probability of the trainer's policy (`probe`). Here peft loads the
adapter onto the base from `AutoModelForCausalLM`, in float32 on that device (`compute.device`): the registry's bytes, peft's reading of them and our own
forward pass have to agree. Prints one JSON object, `FreshProcessReport`, and exits with 0 whatever it says;
`everlearn.gate.checks` judges it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from everlearn.settings import ComputeSettings
from everlearn.training.models.llama import token_logprobs
from everlearn.training.models.policy import device_of, load_policy
from everlearn.training.rollouts import Solver, attempt

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


def probe(
    base: Path,
    adapter: Path,
    problems: Sequence[Problem],
    *,
    domain: Domain,
    seed: int,
    threads: int,
    compute: ComputeSettings | None = None,
) -> list[Probe]:
    """Return the trainer's greedy answer to each problem and its log-probability, in float32.

    Raises:
        ModelError: the base or the adapter cannot be used.
    """
    torch.set_num_threads(threads)
    exact = (compute or ComputeSettings()).model_copy(update={"dtype": "float32"})
    policy = load_policy(base, adapter, compute=exact)
    model = policy.snapshot()
    solver = Solver(policy=policy, model=model, domain=domain)
    probes = []
    for group in attempt(solver, problems, group=1, seed=seed, greedy=True):
        answer = group.completions[0].ids
        with torch.no_grad():
            scores, mask = token_logprobs(model, [group.prompt], [answer])
        probes.append(Probe(prompt=group.prompt, answer=answer, logprob=float((scores * mask).sum())))
    return probes


@torch.no_grad()
def check(base: Path, adapter: Path, probes: Sequence[Probe], *, device: str = "cpu") -> FreshProcessReport:
    """Answer the probes with transformers and peft alone, and compare with the trainer's answers."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, GenerationConfig

    import everlearn.training.models.marked_llama  # noqa: F401 (registers the default base's architecture)

    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True).eval()
    plain.to(device_of(ComputeSettings(device=device)))
    # The trainer decodes greedily; a repetition penalty or another default of the base's own would change the answers.
    plain.generation_config = GenerationConfig(
        eos_token_id=plain.generation_config.eos_token_id, pad_token_id=plain.generation_config.pad_token_id
    )
    before = [_generate(plain, item) for item in probes]  # peft changes `plain` in place, so the base answers first
    model = PeftModel.from_pretrained(plain, adapter).eval()
    gaps, finite, after = [], True, []
    for item in probes:
        gap, is_finite = _compare(model, item)
        gaps.append(gap)
        finite = finite and is_finite
        after.append(_generate(model, item))
    return FreshProcessReport(
        probes=len(probes),
        same_answers=sum(answer == item.answer for answer, item in zip(after, probes, strict=True)),
        worst_gap=max(gaps, default=0.0),
        changed=before != after,
        finite=finite,
        length_before=sum(map(len, before)) / max(1, len(before)),
        length_after=sum(map(len, after)) / max(1, len(after)),
    )


def _compare(model: Any, item: Probe) -> tuple[float, bool]:
    """Return the gap to the trainer's log-probability in nats a token, and whether all logits are finite."""
    ids = torch.tensor([item.prompt + item.answer], device=model.device)
    logits = model(input_ids=ids).logits[0, len(item.prompt) - 1 : -1].float()
    scores = torch.log_softmax(logits, dim=-1).gather(1, ids[0, len(item.prompt) :, None])
    return abs(float(scores.sum()) - item.logprob) / len(item.answer), bool(torch.isfinite(logits).all())


def _generate(model: Any, item: Probe) -> list[int]:
    """Return the greedy answer, at most as long as the trainer's."""
    ids, longest = torch.tensor([item.prompt], device=model.device), max(1, len(item.answer))
    mask = torch.ones_like(ids)
    out = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=longest)
    return list(out[0, len(item.prompt) :].tolist())


def main(arguments: Sequence[str]) -> None:
    """Read BASE, ADAPTER, PROBES.jsonl and perhaps DEVICE from the arguments, and print one line of JSON."""
    torch.set_num_threads(1)
    base, adapter, probes = map(Path, arguments[:3])
    device = arguments[3] if len(arguments) > 3 else "cpu"
    rows = [Probe(**json.loads(line)) for line in probes.read_text().splitlines()]
    print(json.dumps(asdict(check(base, adapter, rows, device=device))))  # noqa: T201 (the result of this command)


if __name__ == "__main__":
    main(sys.argv[1:])
