"""Time one GRPO step, and its parts, of Everlearn and of trl's GRPOTrainer on the same model, prompts and sizes.

    python -m bench.trainer [--rounds 7] [--smollm2 DIRECTORY] [--models smollm2] [--json]

All contestants run in one process on one thread; each round times one step of each. A step samples answers of a fixed
number of tokens, rewards them by a hash (verification is timed in bench/verdicts.py), and takes one optimizer step on
LoRA r=16 at every linear layer. Our own contestants are the two policies, each with its default dtype. For trl these
are its `training_step` (generation, advantages, loss, backward), clipping and AdamW, without the loop of its Trainer,
with its defaults and with the fastest of the settings below. Writes
docs/trainer.json, each model's part after it was timed. `--smollm2` is the directory that `make smollm2` prints; without it only
the default model is timed.

Not measured: answers of different lengths, where padding would cost trl more; several processes (bench/scaling.py).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from everlearn.domains.contract import load_domain
from everlearn.ladder.tree import Ladder
from everlearn.problem import Problem, Ruling, Verdict
from everlearn.settings import ComputeSettings, LearnSettings
from everlearn.training.engines import collectives
from everlearn.training.engines.decode import decode
from everlearn.training.memory_plan import keep_freed_memory
from everlearn.training.models.formats.marked_notation import request
from everlearn.training.models.policy import load_policy
from everlearn.training.models.precision import has_fast_bf16
from everlearn.training.rollouts import Group, seed_of
from everlearn.training.training_run import start_run
from everlearn.training.update import update

if TYPE_CHECKING:
    from collections.abc import Callable

OUT = Path("docs/trainer.json")
BEST: dict[str, dict[str, Any]] = {
    "bf16 model": {"dtype": torch.bfloat16, "gradient_checkpointing": False},
    "fp32 model, bf16 autocast": {"dtype": torch.float32, "gradient_checkpointing": False},
    "fp32": {"dtype": torch.float32, "gradient_checkpointing": False, "bf16": False},
    "bf16 model, transformers' continuous batching": {
        "dtype": torch.bfloat16,
        "gradient_checkpointing": False,
        "use_transformers_continuous_batching": True,
    },
}
DEFAULTS: dict[str, Any] = {"dtype": torch.float32}
FAST, HUB = (ComputeSettings(policy=policy, device="cpu") for policy in ("fast", "hub"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The size of a step."""

    prompts: int
    group: int
    tokens: int

    @property
    def answers(self) -> int:
        """The number of answers in a step."""
        return self.prompts * self.group


def reward(ids: list[int]) -> float:
    """Return 0 or 1 by a hash, the same for every contestant."""
    return float(seed_of("reward", *ids) % 2)


class Everlearn:
    """Our own step; with several processes, each samples its share of the prompts."""

    def __init__(self, base: Path, texts: list[str], size: Size, *, compute: ComputeSettings = FAST) -> None:
        self.size = size
        settings = LearnSettings(prompts=size.prompts, group=size.group)
        loaded = load_policy(base, rank=settings.rank, alpha=settings.alpha, compute=compute)
        self.run = start_run(loaded, Ladder(), domain=load_domain("integration"), settings=settings, seed=1)
        self.prompts = collectives.share([list(loaded.tokenizer(text).input_ids) for text in texts])
        self.count = 0

    def step(self) -> dict[str, float]:
        """Take a step and return the seconds of decoding and update."""
        self.count += 1
        seeds = [seed_of(self.count, row) for row in range(len(self.prompts) * self.size.group)]
        started = time.perf_counter()
        model = self.run.policy.snapshot(bf16=self.run.bf16)
        drawn = decode(model, self.prompts, group=self.size.group, seeds=seeds, stops=[-1], limit=self.size.tokens)
        decoded = time.perf_counter()
        groups = [
            Group(
                problem=Problem(id="", domain="integration", statement=""),
                prompt=prompt,
                completions=rows,
                answers=["" for _ in rows],
                verdicts=[
                    Verdict(ruling=Ruling.CORRECT if reward(row.ids) else Ruling.WRONG, reason="") for row in rows
                ],
            )
            for prompt, rows in zip(self.prompts, drawn, strict=True)
        ]
        update(self.run, collectives.gather(groups), model=model, budget_used=0.0)
        return {"decode": decoded - started, "update": time.perf_counter() - decoded}


class Trl:
    """Trl's GRPOTrainer with the given settings."""

    def __init__(self, model: Any, tokenizer: Any, texts: list[str], size: Size, *, folder: Path, **given: Any) -> None:
        from datasets import Dataset
        from huggingface_hub import constants
        from peft import LoraConfig
        from trl import GRPOConfig, GRPOTrainer

        constants.HF_HUB_DISABLE_TELEMETRY = True  # no telemetry while timing
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        self.device = model.device
        config = GRPOConfig(
            output_dir=str(folder),
            report_to="none",
            use_cpu=self.device.type == "cpu",
            per_device_train_batch_size=size.answers,
            num_generations=size.group,
            max_completion_length=size.tokens,
            learning_rate=1.5e-3,
            max_steps=1000,
            generation_kwargs={}
            if given.get("use_transformers_continuous_batching")
            else {"min_new_tokens": size.tokens},
            dataloader_pin_memory=False,
            **given,
        )
        self.trainer: Any = GRPOTrainer(
            model=model,
            processing_class=tokenizer,
            args=config,
            train_dataset=Dataset.from_dict({"prompt": texts}),
            reward_funcs=lambda completion_ids, **_: [reward(list(ids)) for ids in completion_ids],
            peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
        self.rows = [{"prompt": text} for text in texts for _ in range(size.group)]
        self.trainer.create_optimizer()
        self.trainer.current_gradient_accumulation_steps = 1
        self.trainer.model.train()
        self.generated = 0.0
        inner = self.trainer._generate_single_turn  # noqa: SLF001 (generation is timed apart)

        def timed(*args: Any, **named: Any) -> Any:
            started = now(self.device)
            result = inner(*args, **named)
            self.generated += now(self.device) - started
            return result

        self.trainer._generate_single_turn = timed  # noqa: SLF001

    def step(self) -> dict[str, float]:
        """Take a step and return the seconds of generation and of everything else."""
        self.generated, started = 0.0, now(self.device)
        trainer = self.trainer
        trainer.training_step(trainer.model, self.rows, None)
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad(set_to_none=True)
        trainer.state.global_step += 1
        whole = now(self.device) - started
        return {"decode": self.generated, "update": whole - self.generated}


class Generate:
    """Transformers' `generate` on the merged model in bfloat16."""

    def __init__(self, base: Path, texts: list[str], size: Size) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        self.model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).eval()
        self.batch = tokenizer([text for text in texts for _ in range(size.group)], padding=True, return_tensors="pt")
        self.batch.pop("token_type_ids", None)
        self.tokens = size.tokens

    def step(self) -> dict[str, float]:
        """Generate and return the seconds."""
        started = time.perf_counter()
        self.model.generate(
            **self.batch, do_sample=True, top_k=0, min_new_tokens=self.tokens, max_new_tokens=self.tokens
        )
        return {"decode": time.perf_counter() - started, "update": 0.0}


def now(device: torch.device) -> float:
    """Return the time in seconds after all work on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def matmul_peak(dtype: torch.dtype, *, n: int = 2048, device: torch.device | None = None) -> float:
    """Return the best FLOP/s of five square matrix products on the device, by default the CPU."""
    device = device or torch.device("cpu")
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        started = now(device)
        a @ b
        best = min(best, now(device) - started)
    return 2 * n**3 / best


def measure(base: Path, texts: list[str], size: Size, *, rounds: int, folder: Path) -> dict[str, Any]:
    """Time all contestants in turns; return medians, spreads, and ratios to Everlearn in each round."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import everlearn.training.models.marked_llama  # noqa: F401 (registers the default base's architecture)

    ours = Everlearn(base, texts, size)
    hub = Everlearn(base, texts, size, compute=HUB)
    contestants: dict[str, Callable[[], dict[str, float]]] = {"everlearn": ours.step, "everlearn, hub policy": hub.step}
    contestants["generate, merged bf16"] = Generate(base, texts, size).step
    first: dict[str, float] = {}
    for name, given in {"trl, defaults": DEFAULTS, **{f"trl, {name}": each for name, each in BEST.items()}}.items():
        try:
            options = dict(given)
            model = AutoModelForCausalLM.from_pretrained(base, dtype=options.pop("dtype"))
            trl = Trl(model, AutoTokenizer.from_pretrained(base), texts, size, folder=folder, **options)
            first[name] = sum(trl.step().values())
        except Exception as error:  # noqa: BLE001 (a setting that trl cannot run here is reported)
            print(f"{name}: left out, trl raised {type(error).__name__}: {error}", flush=True)
            continue
        contestants[name] = trl.step
    for name in [name for name in first if first[name] > 3 * min(first.values()) and name != "trl, defaults"]:
        print(f"{name}: left out, its first step took {first[name]:.1f} s", flush=True)
        del contestants[name]
    ours.step()
    hub.step()
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name, step in contestants.items():
            seen[name].append(step())
        print(
            f"round {number + 1} of {rounds}: "
            + ", ".join(f"{name} {sum(each[-1].values()):.2f} s" for name, each in seen.items()),
            flush=True,
        )
    return summary(seen, ours, size)


def summary(seen: dict[str, list[dict[str, float]]], ours: Everlearn, size: Size) -> dict[str, Any]:
    """Return medians and ratios."""
    whole = {name: [sum(each.values()) for each in rows] for name, rows in seen.items()}
    trl = {name: rows for name, rows in whole.items() if name.startswith("trl, ") and name != "trl, defaults"}
    best = min(trl, key=lambda name: median(trl[name]))
    dtype = torch.bfloat16 if ours.run.bf16 else torch.float32
    peak = matmul_peak(dtype)
    linear = sum(tensor.numel() for name, tensor in ours.run.policy.base_weights.items() if "norm" not in name)
    tokens = size.answers * size.tokens
    decode_s, update_s = (median(row[part] for row in seen["everlearn"]) for part in ("decode", "update"))
    return {
        "step": {"prompts": size.prompts, "group": size.group, "tokens": size.tokens, "parameters": linear},
        "seconds": {
            name: {
                "step": spread(whole[name]),
                "decode": spread([row["decode"] for row in rows]),
                "update": spread([row["update"] for row in rows]),
            }
            for name, rows in seen.items()
        },
        "trl_best": best.removeprefix("trl, "),
        "step_ratio_trl_default": ratio(whole["trl, defaults"], whole["everlearn"]),
        "step_ratio_trl_best": ratio(whole[best], whole["everlearn"]),
        "hub_ratio_trl_best": ratio(whole[best], whole["everlearn, hub policy"]),
        "decode_ratio_generate": ratio(
            [row["decode"] for row in seen["generate, merged bf16"]], [row["decode"] for row in seen["everlearn"]]
        ),
        "matmul_peak_gflops": round(peak / 1e9, 1),
        "decode_tokens_per_second": round(tokens / decode_s),
        "update_tokens_per_second": round(tokens / update_s),
        "decode_peak_share": round(2 * linear * tokens / decode_s / peak, 4),
        "update_peak_share": round(4 * linear * tokens / update_s / peak, 4),
    }


def spread(values: list[float]) -> dict[str, float]:
    """Return median, minimum and maximum."""
    return {"median": round(median(values), 3), "min": round(min(values), 3), "max": round(max(values), 3)}


def ratio(theirs: list[float], ours: list[float]) -> dict[str, float]:
    """Return the median ratio of their seconds to ours by round, with a 95 % bootstrap interval."""
    each = [a / b for a, b in zip(theirs, ours, strict=True)]
    rng = random.Random(1)
    drawn = sorted(median(rng.choices(each, k=len(each))) for _ in range(2000))
    return {"median": round(median(each), 2), "low": round(drawn[50], 2), "high": round(drawn[1949], 2)}


def questions(count: int) -> list[str]:
    """Return prompts of the default domain, sums of 6 terms."""
    domain, rng = load_domain("integration"), random.Random(5)
    return [request(domain.split(domain.generate(rng, size=6).statement), rng=rng) for _ in range(count)]


def sentences(count: int) -> list[str]:
    """Return prompts for a general model."""
    rng = random.Random(5)
    return [
        "Question: what is the sum of "
        + ", ".join(str(rng.randint(10, 99)) for _ in range(10))
        + "? Think step by step. Answer:"
        for _ in range(count)
    ]


def main() -> None:
    """Measure, write docs/trainer.json, and print the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--smollm2", type=Path)
    parser.add_argument("--models", nargs="+", choices=("default", "smollm2"), default=("default", "smollm2"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # every contestant is faster with it
    results: dict[str, Any] = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    steps = {
        "default": (Path("data/base"), questions(16), Size(prompts=16, group=8, tokens=64)),
        "smollm2": (options.smollm2, sentences(4), Size(prompts=4, group=8, tokens=64)),
    }
    for model in options.models:
        base, texts, size = steps[model]
        if base is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            results[model] = {
                "date": datetime.now(tz=UTC).date().isoformat(),
                "machine": f"{os.cpu_count()} x {platform.processor() or platform.machine()}",
                "bf16": has_fast_bf16(),
                "rounds": options.rounds,
                **measure(base, texts, size, rounds=options.rounds, folder=Path(folder)),
            }
        OUT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    last = {}
    for model, suffix in (("default", ""), ("smollm2", "_smollm2")):
        for name in (
            "step_ratio_trl_default",
            "step_ratio_trl_best",
            "hub_ratio_trl_best",
            "decode_ratio_generate",
            "decode_peak_share",
        ):
            value = results.get(model, {}).get(name)
            last[name + suffix] = value["median"] if isinstance(value, dict) else value
    print(json.dumps(last) if options.json else json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
