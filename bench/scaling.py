"""Measure how the speed of training scales with batch, length of answers, size of the model, and processes.

    python -m bench.scaling [--rounds 3] [--json]

Models are untrained and of the default architecture. Each point is the median of some rounds of decoding and of update,
in tokens a second, on one thread; several processes train together by torch.distributed on this machine. The memory of
an update is measured on its forward pass and compared with the estimate of `everlearn.training.memory_plan`.
Writes docs/scaling.json and docs/scaling.svg.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import torch

from bench.trainer import Everlearn, Size, questions
from everlearn.training.base_model.pretrain import build_model
from everlearn.training.base_model.tokenizer import build_tokenizer
from everlearn.training.memory_plan import bytes_per_token, keep_freed_memory
from everlearn.training.models.llama import Model, token_logprobs
from everlearn.training.models.policy import load_policy

OUT = Path("docs")
USUAL = Size(prompts=16, group=8, tokens=64)
WIDTHS = {64: 2, 128: 4, 256: 6, 384: 8}
BLUE, ORANGE = "#2563eb", "#d97706"


def model(folder: Path, width: int) -> Path:
    """Return the directory of an untrained model of that width."""
    path = folder / str(width)
    if not path.exists():
        tokenizer = build_tokenizer()
        build_model(tokenizer, seed=0, width=width, layers=WIDTHS[width]).save_pretrained(path)
        tokenizer.save_pretrained(path)
    return path


def rates(base: Path, size: Size, *, rounds: int) -> dict[str, float]:
    """Return the tokens a second of decoding and of update."""
    ours = Everlearn(base, questions(size.prompts), size)
    ours.step()
    seen = [ours.step() for _ in range(rounds)]
    tokens = size.answers * size.tokens
    return {part: round(tokens / median(each[part] for each in seen)) for part in ("decode", "update")}


def rates_of_processes(base: Path, processes: int, *, rounds: int) -> dict[str, float]:
    """Return the same for several processes of this machine that share prompts and groups: the sum of all."""
    code = (
        "import json, sys, torch; from pathlib import Path; from bench.scaling import USUAL, rates\n"
        "from torch import distributed\n"
        "torch.set_num_threads(1); distributed.init_process_group('gloo')\n"
        "found = rates(Path(sys.argv[1]), USUAL, rounds=int(sys.argv[2]))\n"
        "print(json.dumps(found)) if distributed.get_rank() == 0 else None\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "one.py"
        script.write_text(code, encoding="utf-8")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, str(script), str(base), str(rounds)], check=True, stdout=subprocess.PIPE, text=True, env=environ
        )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def update_memory(base: Path) -> dict[str, float]:
    """Return the MB that the forward pass of an update keeps for its backward pass, measured and estimated."""
    policy = load_policy(base)
    trained = policy.trained(policy.snapshot())
    prompts = [list(policy.tokenizer(text).input_ids) for text in questions(4)]
    answers = [[5 + (row + at) % 40 for at in range(64)] for row in range(8 * len(prompts))]
    tokens = sum(map(len, answers))
    share = 8 * sum(map(len, prompts)) / tokens
    return {
        "kept_mb": round(_saved(trained, prompts, answers) / 1e6, 1),
        "estimated_mb": round(bytes_per_token(trained, prompt_share=share) * tokens / 1e6, 1),
    }


def _saved(trained: Model, prompts: list[list[int]], answers: list[list[int]]) -> int:
    weights = {tensor.untyped_storage().data_ptr() for tensor in trained.weights.values()}
    seen: dict[int, int] = {}
    alive: list[torch.Tensor] = []  # so that no address is reused

    def record(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor.detach())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        token_logprobs(trained, prompts, answers)
    return sum(seen.values())


def picture(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return an SVG of four small plots of tokens a second, and one of memory."""
    parts = [
        f'<text x="20" y="22" fill="{BLUE}">decode</text>',
        f'<text x="90" y="22" fill="{ORANGE}">update</text>',
        '<text x="160" y="22">tokens a second; the last: MB kept and estimated</text>',
    ]
    for number, (title, points) in enumerate(found.items()):
        left, top = 60 + 300 * (number % 2), 60 + 210 * (number // 2)
        highest = max(value for point in points.values() for value in point.values())
        parts.append(f'<text x="{left}" y="{top - 10}">{title}</text>')
        parts.append(f'<text x="{left - 8}" y="{top + 6}" text-anchor="end">{highest:,.0f}</text>')
        parts.append(f'<path d="M{left} {top}V{top + 130}H{left + 220}" fill="none" stroke="#8888"/>')
        names = list(points)
        step = 200 / max(1, len(names) - 1)
        for at, name in enumerate(names):
            parts.append(
                f'<text x="{left + 10 + step * at:.0f}" y="{top + 148}" text-anchor="middle" font-size="11">{name}</text>'
            )
        for colour, part in zip((BLUE, ORANGE), next(iter(points.values())), strict=True):
            line = " ".join(
                f"{left + 10 + step * at:.0f},{top + 130 - 130 * points[name][part] / highest:.1f}"
                for at, name in enumerate(names)
            )
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 620 680" font-family="sans-serif" font-size="13" '
        f'fill="#888">{"".join(parts)}</svg>\n'
    )


def main() -> None:
    """Measure, and write the figures and their plots."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    started = time.monotonic()
    found: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        bases = {width: model(Path(folder), width) for width in WIDTHS}
        usual, rounds = bases[128], options.rounds
        found["answers in a step"] = {
            str(8 * n): rates(usual, Size(prompts=n, group=8, tokens=64), rounds=rounds) for n in (2, 4, 8, 16, 32)
        }
        found["tokens of an answer"] = {
            str(n): rates(usual, Size(prompts=8, group=8, tokens=n), rounds=rounds) for n in (16, 32, 64, 128, 256)
        }
        found["width of the model"] = {str(n): rates(base, USUAL, rounds=rounds) for n, base in bases.items()}
        found["processes"] = {
            str(n): rates_of_processes(usual, n, rounds=rounds) for n in range(1, (os.cpu_count() or 1) + 1)
        }
        found["width of the model: memory of 2,048 tokens"] = {str(n): update_memory(base) for n, base in bases.items()}
    results = {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} x {platform.processor() or platform.machine()}",
        "seconds": round(time.monotonic() - started),
        **found,
    }
    (OUT / "scaling.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (OUT / "scaling.svg").write_text(picture(found), encoding="utf-8")
    print(json.dumps(results) if options.json else json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
