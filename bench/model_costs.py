"""What one training step of a base model costs on a CPU, for each policy and type: seconds and peak memory.

    python -m bench.model_costs --smollm2 DIRECTORY [--rounds 3] [--json]

Each configuration has a process of its own, on one thread: it loads the base, takes one step that is not timed, then
the rounds. A step samples 8 answers of 64 tokens to each of 4 prompts and takes one GRPO update, as in
bench/trainer.py. The peak is the process's largest resident memory, the loading included. `--smollm2` is the directory
that `make smollm2` prints. `nf4` needs bitsandbytes and is left out without it. Writes docs/model_costs.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from bench.learning.rows import write_json
from bench.trainer import Everlearn, Size, sentences, spread
from everlearn import counters
from everlearn.settings import ComputeSettings
from everlearn.training.memory_plan import keep_freed_memory

OUT = Path("docs/model_costs.json")
SIZE = Size(prompts=4, group=8, tokens=64)
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "fast": {"policy": "fast"},
    "hub, float32": {"policy": "hub", "dtype": "float32"},
    "hub, bfloat16": {"policy": "hub", "dtype": "bfloat16"},
    "hub, nf4": {"policy": "hub", "quantization": "nf4"},
}


def measure(base: Path, name: str, *, rounds: int) -> dict[str, Any]:
    """Return the seconds of a step and of its parts, and the peak memory of this process."""
    torch.set_num_threads(1)
    keep_freed_memory()
    started = counters.cpu_seconds()
    ours = Everlearn(base, sentences(SIZE.prompts), SIZE, compute=ComputeSettings(device="cpu", **CONFIGURATIONS[name]))
    load = counters.cpu_seconds() - started
    ours.step()
    steps = []
    for _ in range(rounds):
        began = time.process_time()
        parts = ours.step()
        steps.append({"step": sum(parts.values()), "cpu": time.process_time() - began, **parts})
    return {
        "load_cpu_s": round(load, 1),
        "seconds": {part: spread([step[part] for step in steps]) for part in steps[0]},
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def main() -> None:
    """Measure each configuration in a process of its own, write docs/model_costs.json, and print the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smollm2", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=CONFIGURATIONS, help="measure one in this process and print it")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.smollm2, given.one, rounds=given.rounds)))
        return
    results: dict[str, Any] = {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} x {platform.processor() or platform.machine()}",
        "rounds": given.rounds,
        "answers": SIZE.answers,
        "tokens": SIZE.tokens,
        "costs": {},
    }
    for name in CONFIGURATIONS:
        if name.endswith("nf4") and find_spec("bitsandbytes") is None:
            print(f"{name}: left out, bitsandbytes is not installed", file=sys.stderr)
            continue
        command = [sys.executable, "-m", "bench.model_costs", "--smollm2", str(given.smollm2), "--one", name]
        done = subprocess.run([*command, "--rounds", str(given.rounds)], check=True, stdout=subprocess.PIPE, text=True)
        results["costs"][name] = json.loads(done.stdout.splitlines()[-1])
        print(name, results["costs"][name], file=sys.stderr, flush=True)
        write_json(OUT, results)
    print(json.dumps(results, indent=None if given.json else 1))


if __name__ == "__main__":
    main()
