"""Silent faults and false alarms of the checks before a training: `python -m bench.guards --json`.

Injects each of the twelve faults of `tests/support/silent_faults.py` and counts those that a check refused with a
sentence. Then prepares healthy trainings of tiny random models (12 families; type, rank, size of the adapter and seed
are drawn anew), takes a first step and saves the adapter, with every check but those of vLLM's servers, and counts
those that were refused.

    python -m bench.guards --loads 10000 --json     # about an hour on one core
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import torch

from everlearn.errors import EverlearnError
from everlearn.settings import ComputeSettings
from everlearn.training.models.fingerprint import fingerprint
from tests.support.silent_faults import FAULTS, UnnoticedError, healthy
from tests.support.tiny_models import FAMILIES, write_model

REPORT_S = 30.0


def caught(folder: Path) -> int:
    """Return how many faults were refused, and print the sentences."""
    found = 0
    for number, (name, inject) in enumerate(FAULTS.items()):
        try:
            sentence = inject(folder / str(number))
        except UnnoticedError:
            print(f"NOT CAUGHT  {name}", file=sys.stderr)
        else:
            found += 1
            print(f"caught      {name}: {sentence}", file=sys.stderr)
    return found


def false_alarms(folder: Path, *, loads: int, seed: int) -> int:
    """Return how many of so many healthy trainings were refused."""
    rng, refused, shown = random.Random(seed), 0, time.monotonic()
    bases = {family: write_model(family, folder / family) for family in FAMILIES}
    identities = {family: fingerprint(base) for family, base in bases.items()}
    for load in range(loads):
        family, dtype = rng.choice(sorted(bases)), rng.choice(["auto", "float32", "bfloat16"])
        compute = ComputeSettings.model_validate({"device": "cpu", "dtype": dtype})
        drawn, size, rank = rng.randrange(10**6), rng.choice([0.0, 0.003, 0.03, 0.3]), rng.choice([1, 4, 16])
        try:
            healthy(bases[family], compute=compute, seed=drawn, size=size, rank=rank, identity=identities[family])
        except EverlearnError as error:
            refused += 1
            print(f"FALSE ALARM  {family}, {dtype}, seed {drawn}, B {size}, rank {rank}: {error}", file=sys.stderr)
        if time.monotonic() - shown > REPORT_S:
            shown = time.monotonic()
            print(f"{load + 1} of {loads} healthy trainings, {refused} refused", file=sys.stderr, flush=True)
    return refused


def main() -> None:
    """Run both and print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="accepted for uniformity: the last line is JSON anyway")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        result = {"caught": caught(Path(folder) / "faults"), "faults": len(FAULTS)}
        result["false_alarms"] = false_alarms(Path(folder) / "healthy", loads=options.loads, seed=options.seed)
    print(json.dumps(result | {"loads": options.loads}))


if __name__ == "__main__":
    main()
