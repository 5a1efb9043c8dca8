"""Compare the duration of short commands, as whole processes, in two checkouts.

    python -m bench.startup --before DIR --after DIR [--rounds 15] [--json]

`everlearn status`, `history` and `rollback` run alternately in both checkouts, on one line with two versions of a local
SeaweedFS. Both use this interpreter and its installed packages, each with its own `src`. `rollback` runs with `--keep`,
and the version is promoted again between the runs. For each command: the medians, the median ratio after / before of
the paired runs, and its 95 % bootstrap interval. A command is no slower if the interval begins at or below 1.

The import time of boto3 beyond botocore is measured too, in processes of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

from everlearn.canonical_json import digest_of
from everlearn.local.seaweedfs import LocalS3
from everlearn.registry.manifest import Manifest
from everlearn.registry.signing import create_key, signer_and_verifier
from everlearn.registry.versions import Registry
from everlearn.storage.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Sequence

MAIN = "from everlearn.cli import main; main()"
COMMANDS = {
    "status": ["status"],
    "history": ["history"],
    "rollback": ["rollback", "--reason", "measured", "--yes", "--keep"],
}
BOTO3_IMPORT = """
import time, botocore.session, botocore.config, botocore.exceptions
started = time.perf_counter()
import boto3
print(time.perf_counter() - started)
"""
RESAMPLES = 10_000


class TwoVersions:
    """A line with two versions on a local server, and the environment of commands on it."""

    def __init__(self, folder: Path, server: LocalS3) -> None:
        self.folder = folder
        create_key(folder / "key.pem")
        os.environ |= {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
        signer, verifier = signer_and_verifier(key_file=folder / "key.pem", trusted=(), unsigned=False)
        store = S3Store(server.bucket, endpoint_url=server.endpoint_url)
        self.registry = Registry(store, "startup", clock=lambda: datetime.now(tz=UTC), signer=signer, verifier=verifier)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("EVERLEARN_", "PREFECT_"))}
        self.environ = kept | {
            "EVERLEARN_STORE__ENDPOINT_URL": server.endpoint_url,
            "EVERLEARN_STORE__BUCKET": server.bucket,
            "EVERLEARN_STORE__LINE": "startup",
            "EVERLEARN_SIGNING__KEY_FILE": str(folder / "key.pem"),
        }
        for number in range(2):
            self._publish(number)

    def _publish(self, number: int) -> None:
        name = "base_model.model.model.layers.0.self_attn.q_proj.lora"
        shapes = {"A": (2, 8), "B": (8, 2)}
        tensors = {f"{name}_{side}.weight": np.full(shape, number + 1, np.float32) for side, shape in shapes.items()}
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
        files = {"adapter_model.safetensors": save(tensors), "adapter_config.json": json.dumps(config).encode()}
        manifest = Manifest(
            files={file: self.registry.put_object(data) for file, data in files.items()},
            base_fingerprint="b" * 64,
            parent=self.registry.state().champion,
            cycle_key=digest_of(b"cycle %d" % number),
            data_digest=digest_of(b"data %d" % number),
            config={},
            code_version="bench",
            created=datetime.now(tz=UTC),
        )
        self.registry.publish(manifest, make_champion=True, actor="bench", reason="measured")

    def run(self, command: str, *, checkout: Path) -> float:
        """Run a command with the code of a checkout, and return the seconds of the process."""
        if command == "rollback":
            self.registry.state()
            self.registry.promote("v0002", reason="measured", actor="bench")
        environ = self.environ | {"PYTHONPATH": os.pathsep.join([str(checkout / "src"), str(checkout)])}
        program = [sys.executable, "-c", MAIN, "--home", str(self.folder / "home"), *COMMANDS[command]]
        started = time.perf_counter()
        subprocess.run(
            program, check=True, env=environ, cwd=self.folder, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        return time.perf_counter() - started


def main() -> None:
    """Print the comparison of the two checkouts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, metavar="DIR")
    parser.add_argument("--after", type=Path, required=True, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    checkouts = {"before": options.before.absolute(), "after": options.after.absolute()}
    with tempfile.TemporaryDirectory() as folder, LocalS3(Path(folder) / "s3") as server:
        line = TwoVersions(Path(folder), server)
        results: dict[str, Any] = {
            command: summarize(measure(line, command, checkouts, rounds=options.rounds)) for command in COMMANDS
        }
    results["boto3 import"] = {"median_s": median(import_boto3() for _ in range(options.rounds))}
    if options.json:
        print(json.dumps(results))
        return
    for command, result in results.items():
        if "ratio" not in result:
            print(f"{command}: {1000 * result['median_s']:.0f} ms beyond botocore")
            continue
        low, high = result["interval"]
        print(
            f"{command}: before {result['before_s']:.3f} s, after {result['after_s']:.3f} s, "
            f"ratio {result['ratio']:.3f} (95 %: {low:.3f} to {high:.3f})"
        )


def measure(line: TwoVersions, command: str, checkouts: dict[str, Path], *, rounds: int) -> list[tuple[float, float]]:
    """Return the seconds (before, after) of each round. The order alternates; one run of each first fills caches."""
    pairs = []
    for number in range(-1, rounds):
        order = list(checkouts) if number % 2 else list(reversed(checkouts))
        seconds = {name: line.run(command, checkout=checkouts[name]) for name in order}
        if number >= 0:
            pairs.append((seconds["before"], seconds["after"]))
            print(f"{command}: {seconds['before']:.3f} s, {seconds['after']:.3f} s", file=sys.stderr)
    return pairs


def summarize(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return both medians, the median ratio of the pairs, and its 95 % bootstrap percentile interval."""
    ratios = [after / before for before, after in pairs]
    rng = random.Random(0)
    medians = sorted(median(rng.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return {
        "before_s": median(before for before, _ in pairs),
        "after_s": median(after for _, after in pairs),
        "ratio": median(ratios),
        "interval": (medians[int(0.025 * RESAMPLES)], medians[int(0.975 * RESAMPLES)]),
        "rounds": len(pairs),
    }


def import_boto3() -> float:
    """Return the seconds that a new process takes to import boto3 once botocore is imported."""
    done = subprocess.run([sys.executable, "-c", BOTO3_IMPORT], check=True, capture_output=True, text=True)
    return float(done.stdout)


if __name__ == "__main__":
    main()
