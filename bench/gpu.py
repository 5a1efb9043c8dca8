"""What the hub policy does on a device: parity with float32, speed, memory, and a training that is killed and resumed.

    python -m bench.gpu --json                                  # on a GPU: Qwen3-0.6B and 4B geometry, random weights
    python -m bench.gpu --device cpu --geometries tiny          # the same code on a CPU, in a minute

On a machine without network, from a checkout that is not installed, with torch, transformers, peft, pydantic, PyYAML, psutil and httpx:

    cd everlearn
    export HF_HUB_OFFLINE=1 PYTHONPATH=src
    python -m bench.gpu --json --out gpu.json
    python -m bench.gpu --json --out gpu-4gib.json --memory-gib 4 --parts speed     # batches as on a CPU

A step samples 8 answers to each of 8 prompts of 64 tokens and takes one GRPO update on them, LoRA of rank 16 at every linear
layer, the base in bfloat16. Tokens of an update are those of the answers and, once a group, of the prompts, as they are computed.
`matmul_share` is 4 x parameters x tokens / seconds (forward, and backward through the base; LoRA's own products are below
2 %), as a share of the fastest square product of the same type measured here. `estimate_gib` is what the estimates of a night count
for such a step: the weights, the adapter with its optimizer, and the batch that the memory plan cuts; `peak_of_estimate` is the measured
peak by their sum. Writes docs/gpu.json, anew after each part: a part that fails leaves its error there, and the others run.

Where trl is installed, its GRPOTrainer takes the same step with the same model and sizes, prompts as text.

Not measured: several GPUs, vLLM, a quantized base. No GPU has run this yet.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import random
import signal
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config

from bench.trainer import Size, Trl, matmul_peak, now
from everlearn.domains.contract import load_domain
from everlearn.domains.domain_names import GROUP as DOMAINS
from everlearn.domains.domain_names import find_domain
from everlearn.errors import UnknownDomainError
from everlearn.ladder.tree import Ladder
from everlearn.problem import Problem, Ruling, Verdict
from everlearn.settings import ComputeSettings, FormatSettings, LadderSettings, LearnSettings
from everlearn.training.engines.decode import Completion, decode
from everlearn.training.job import TrainingJob
from everlearn.training.ladder_growth import plant
from everlearn.training.memory_estimate import ADAPTER_BYTES, GIB
from everlearn.training.memory_plan import bytes_per_token, plan, update_memory
from everlearn.training.models.formats.format_choice import choose_format
from everlearn.training.models.policy import adapt, device_of, load_policy
from everlearn.training.rollouts import Group
from everlearn.training.trainer import train
from everlearn.training.training_run import start_run
from everlearn.training.update import update

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.training.models.policy import LoadedBase, Policy
    from everlearn.training.training_run import TrainingRun

OUT = Path("docs/gpu.json")
BASE = Path("data/base")
SHAPES: dict[str, dict[str, Any]] = {
    name: {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "vocab_size": vocabulary,
        "tie_word_embeddings": True,
    }
    for name, width, inner, layers, heads, kv_heads, head_dim, vocabulary in (
        ("tiny", 64, 128, 2, 4, 2, 16, 512),
        ("qwen3-0.6b", 1024, 3072, 28, 16, 8, 128, 151_936),
        ("qwen3-4b", 2560, 9728, 36, 32, 8, 128, 151_936),
    )
}
PROMPTS, GROUP, PROMPT_TOKENS = 8, 8, 64
DOMAIN = "integration"
PARTS = ("parity", "speed", "trl", "resume")
WRONG, RIGHT = (Verdict(ruling=ruling, reason="") for ruling in (Ruling.WRONG, Ruling.CORRECT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Tokens of an answer, timed steps, and `learn.memory_gib`."""

    answer: int
    rounds: int
    memory_gib: float | None = None


def offer_domains(folder: Path) -> None:
    """Offer the domains of this checkout where it is not installed: as entry points in `folder`, as pyproject.toml states them."""
    try:
        find_domain(DOMAIN)
    except UnknownDomainError:
        project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
        info = folder / f"{project['name']}-{project['version']}.dist-info"
        info.mkdir()
        lines = (f"{name} = {value}" for name, value in project["entry-points"][DOMAINS].items())
        (info / "entry_points.txt").write_text("\n".join([f"[{DOMAINS}]", *lines]), encoding="utf-8")
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8"
        )
        sys.path.append(str(folder))  # that of spawned processes, too


def random_model(geometry: str, *, device: torch.device, dtype: torch.dtype) -> Any:
    """Return a model of random weights, the same for equal types and devices."""
    torch.manual_seed(0)
    with device:
        return AutoModelForCausalLM.from_config(Qwen3Config(**SHAPES[geometry]), dtype=dtype)


def build(geometry: str, *, device: torch.device, dtype: torch.dtype) -> LoadedBase:
    """Return a random model as a base, without a tokenizer."""
    module = random_model(geometry, device=device, dtype=dtype)
    return adapt(module, None, stops=frozenset({0}), reason="as in a night")


def begin(policy: Policy, **given: Any) -> TrainingRun:
    """Return a run at step 0 that no problem is chosen for."""
    settings = LearnSettings(prompts=PROMPTS, group=GROUP, **given)
    domain = load_domain(DOMAIN)
    form = choose_format(load_policy(BASE), domain, FormatSettings(name="marked"))  # never asked for a prompt
    return start_run(policy, Ladder(), domain=domain, settings=settings, seed=1, form=form)


def as_groups(prompts: list[list[int]], drawn: list[list[Completion]]) -> list[Group]:
    """Return groups in which every second answer is right."""
    problem = Problem(id="", domain=DOMAIN, statement="")
    return [
        Group(
            problem=problem,
            prompt=prompt,
            completions=rows,
            answers=[""] * len(rows),
            verdicts=[RIGHT if place % 2 else WRONG for place in range(len(rows))],
        )
        for prompt, rows in zip(prompts, drawn, strict=True)
    ]


def random_prompts(model: Any, *, count: int) -> list[list[int]]:
    """Return prompts of random tokens."""
    rng = random.Random(1)
    return [[rng.randrange(1, model.vocabulary) for _ in range(PROMPT_TOKENS)] for _ in range(count)]


def parity(device: torch.device) -> dict[str, float]:
    """Compare the gradient of one step on the device in bfloat16 with float32 on the CPU: the same weights and answers."""
    bases = {"cpu": build("tiny", device=torch.device("cpu"), dtype=torch.float32)}
    exact: Any = bases["cpu"].model
    narrow: Any = AutoModelForCausalLM.from_config(exact.module.config, dtype=torch.bfloat16)
    narrow.load_state_dict(exact.module.state_dict())
    bases["device"] = adapt(narrow.to(device), None, stops=frozenset({0}), reason="as in a night")
    prompts = random_prompts(exact, count=2)
    seeds = list(range(2 * GROUP))
    gradients = {}
    drawn: list[list[Completion]] = []
    for name, base in bases.items():
        policy = base.policy(rank=16, seed=3)
        with torch.no_grad():
            for _, b in policy.lora.values():
                b.copy_(torch.randn(b.shape, generator=torch.Generator().manual_seed(b.shape[0])) / 20)
        run = begin(policy, rate=1.0, warmup=1, decay=1.0, max_norm=1e9)
        run.optimizer = torch.optim.SGD(policy.parameters(), lr=1.0)
        run.step = 1
        drawn = drawn or decode(policy.snapshot(), prompts, group=GROUP, seeds=seeds, stops={0}, limit=16)
        before = run.parameters()
        update(run, as_groups(prompts, drawn), model=policy.snapshot(), budget_used=0.0)
        after = policy.parameters()
        gradients[name] = torch.cat([(a - b).detach().cpu().flatten() for a, b in zip(after, before, strict=True)])
    exact_one, ours = gradients["cpu"], gradients["device"]
    return {
        "relative_error": float((ours - exact_one).norm() / exact_one.norm()),
        "cosine": float(torch.nn.functional.cosine_similarity(ours, exact_one, dim=0)),
    }


def speed(geometry: str, device: torch.device, sizes: Sizes) -> dict[str, Any]:
    """Time sampling and update of steps; on a GPU also return the peak of allocated memory."""
    dtype = torch.bfloat16
    base = build(geometry, device=device, dtype=dtype)
    policy = base.policy(rank=16)
    run, prompts = begin(policy, memory_gib=sizes.memory_gib), random_prompts(base.model, count=PROMPTS)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    decode_s, update_s, sampled, trained = list[float](), list[float](), 0, 0
    for number in range(sizes.rounds + 1):  # the first one warms up
        seeds = [1000 * number + row for row in range(PROMPTS * GROUP)]
        started = now(device)
        model = policy.snapshot()
        drawn = decode(model, prompts, group=GROUP, seeds=seeds, stops={-1}, limit=sizes.answer)
        decoded = now(device)
        run.step += 1
        update(run, as_groups(prompts, drawn), model=model, budget_used=0.0)
        if number:
            decode_s.append(decoded - started)
            update_s.append(now(device) - decoded)
        sampled = sum(len(row.ids) for rows in drawn for row in rows)
        trained = sampled + sum(map(len, prompts))
    peak = matmul_peak(dtype, device=device, n=8192 if device.type == "cuda" else 1024)
    parameters = sum(tensor.numel() for tensor in base.model.weights.values())
    estimate = estimated_gib(run, answer=sizes.answer)
    found: dict[str, Any] = {
        "parameters": parameters,
        "memory_gib": round(update_memory(base.model, run.settings), 3),
        "estimate_gib": {name: round(size, 3) for name, size in estimate.items()},
        "decode_tokens_per_second": round(sampled / median(decode_s)),
        "update_tokens_per_second": round(trained / median(update_s)),
        "update_seconds": [round(seconds, 3) for seconds in update_s],
        "matmul_share": round(4 * parameters * trained / median(update_s) / peak, 3),
    }
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / GIB
        found |= {"peak_gib": round(peak, 2), "peak_of_estimate": round(peak / sum(estimate.values()), 3)}
    return found


def estimated_gib(run: TrainingRun, *, answer: int) -> dict[str, float]:
    """Return the memory of a step in GiB as it is estimated: weights, adapter with optimizer, and the batch of the memory plan."""
    model, each = run.policy.base_model, GROUP * answer
    cut = plan(model, longest=each, prompt=PROMPT_TOKENS, settings=run.settings)
    taken = each * max(1, min(PROMPTS, cut.tokens // each))
    per_token = bytes_per_token(model, prompt_share=PROMPT_TOKENS / answer, checkpointing=cut.checkpointing)
    return {
        "weights": sum(tensor.numel() * tensor.element_size() for tensor in model.weights.values()) / GIB,
        "adapter": ADAPTER_BYTES * sum(tensor.numel() for tensor in run.policy.parameters()) / GIB,
        "update": taken * per_token / GIB,
    }


def trl_speed(geometry: str, device: torch.device, sizes: Sizes, folder: Path) -> dict[str, Any]:
    """Time the same steps by trl, whose tokenizer is that of the demo's base; nothing where trl is not installed."""
    if find_spec("trl") is None:
        return {}
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    model = random_model(geometry, device=device, dtype=torch.bfloat16)
    texts = [str(tokenizer.decode(tokenizer(text * PROMPT_TOKENS).input_ids[:PROMPT_TOKENS])) for text in "xyz()+*/"]
    size = Size(prompts=PROMPTS, group=GROUP, tokens=sizes.answer)
    trl = Trl(model, tokenizer, texts, size, folder=folder, gradient_checkpointing=False)
    trl.step()
    seen = [trl.step() for _ in range(sizes.rounds)]
    sampled = size.answers * size.tokens
    trained = sampled + size.answers * PROMPT_TOKENS
    return {
        "trl_decode_tokens_per_second": round(sampled / median(row["decode"] for row in seen)),
        "trl_update_tokens_per_second": round(trained / median(row["update"] for row in seen)),
        "trl_step_seconds": [round(sum(row.values()), 3) for row in seen],
    }


def job_of(folder: Path, device: torch.device) -> TrainingJob:
    """Return a small training of the demo's base in the hub policy."""
    statements = ["3*x^2 - sin(2*x)", "exp(x) + 1/(x+1)", "x*cos(x) - 2*x", "2*x"]
    return TrainingJob(
        base=BASE,
        adapter=None,
        ladder=plant(statements, domain=load_domain(DOMAIN), forbidden=frozenset()),
        workdir=folder,
        settings=LearnSettings(steps=4, prompts=4, group=8, temperature=1.3, warmup=1),
        ladder_settings=LadderSettings(rollouts=1),
        seed=5,
        threads=1,
        compute=ComputeSettings(policy="hub", device=str(device)),
    )


def _train_and_die(folder: Path, device: str) -> None:
    def die(point: Any, _: int) -> None:
        if point.step == 3:
            signal.raise_signal(signal.SIGKILL)

    train(job_of(folder, torch.device(device)), on_step=die)


def killed_and_resumed(device: torch.device, folder: Path) -> dict[str, float]:
    """Train, kill a second training at its third step, resume it, and return the largest difference of the adapters."""
    whole = train(job_of(folder / "whole", device))
    child = multiprocessing.get_context("spawn").Process(target=_train_and_die, args=(folder / "killed", str(device)))
    child.start()
    child.join()
    resumed = train(job_of(folder / "killed", device))
    one, other = (load_file(each.adapter / "adapter_model.safetensors") for each in (whole, resumed))
    gap = max(float((one[name] - other[name]).abs().max()) for name in one)
    return {"killed_by": float(-(child.exitcode or 0)), "largest_difference": gap}


class Report:
    """The result, written after each part."""

    def __init__(self, path: Path, **facts: Any) -> None:
        self.path, self.result, self.failed = path, dict(facts), list[str]()

    def part(self, name: str, action: Callable[[], dict[str, Any]]) -> None:
        """Add what the action finds, or the error that it ends with, so that the other parts run all the same."""
        try:
            found = action()
        except Exception as error:  # noqa: BLE001 (such as too little memory for the largest geometry)
            found = {"failed": f"{name}: {type(error).__name__}: {error}"}
            self.failed.append(name)
        self.result[name] = self.result.get(name, {}) | found
        self.path.write_text(json.dumps(self.result, indent=1) + "\n", encoding="utf-8")
        print(name, found, file=sys.stderr, flush=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def main(arguments: list[str] | None = None) -> None:
    """Run the parts, write docs/gpu.json, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--geometries", nargs="+", choices=SHAPES, default=["qwen3-0.6b", "qwen3-4b"])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--answer-tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-gib", type=float, help="memory of an update; by default that of `learn.memory_gib`")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--json", action="store_true", help="print one line")
    options = parser.parse_args(arguments)
    device = device_of(ComputeSettings(device=options.device))
    sizes = Sizes(answer=options.answer_tokens, rounds=options.rounds, memory_gib=options.memory_gib)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    report = Report(
        options.out,
        date=datetime.now(tz=UTC).date().isoformat(),
        device=f"{device.type}: {card}",
        versions={name: version(name) for name in ("torch", "transformers", "peft")},
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        offer_domains(folder)
        if "parity" in options.parts:
            report.part("parity", lambda: parity(device))
        for geometry in options.geometries:
            if "speed" in options.parts:
                report.part(geometry, partial(speed, geometry, device, sizes))
            if "trl" in options.parts:
                report.part(geometry, partial(trl_speed, geometry, device, sizes, folder / geometry))
        if "resume" in options.parts:
            report.part("resume", lambda: killed_and_resumed(device, folder))
    print(json.dumps(report.result, indent=None if options.json else 1))
    if report.failed:
        raise SystemExit(f"failed: {', '.join(report.failed)}; see {options.out}")


if __name__ == "__main__":
    main()
