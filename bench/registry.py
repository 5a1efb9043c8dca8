"""Measure what the registry costs: publishing, rolling back, and reading a long history.

    python -m bench.registry [--rounds 5] [--json]

Runs on a SeaweedFS of its own on this machine, with empty buckets. Compared variants alternate within one run.

    publish    a file as a new version (hashing, conditions, heartbeat, manifest, event, HEAD) against the same bytes with
               boto3 alone: `put_object` for 10 MB, its parallel multipart `upload_file` for 500 MB
    rollback   `everlearn rollback` as a whole process, including Python's start
    history    `everlearn history` as a whole process on a line of 10,000 versions, and its requests

Writes docs/registry.json. Does not include the latency of a network.
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
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import boto3

from everlearn.canonical_json import digest_of
from everlearn.local.seaweedfs import LocalS3
from everlearn.registry.manifest import Manifest
from everlearn.registry.signing import create_key, signer_and_verifier
from everlearn.registry.versions import Registry
from everlearn.storage.in_memory import MemoryStore
from everlearn.storage.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.storage.protocol import Store

MB = 1_000_000
VERSIONS = 10_000
OUT = Path(__file__).parents[1] / "docs" / "registry.json"


class Bench:
    """A server, a signing key, and the buckets of the measurements."""

    def __init__(self, folder: Path, server: LocalS3) -> None:
        self.folder = folder
        self.server = server
        self.key = folder / "key.pem"
        create_key(self.key)
        os.environ |= {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
        self.client = boto3.client("s3", endpoint_url=server.endpoint_url, region_name="us-east-1")
        self._candidates = 0

    def store(self, bucket: str) -> S3Store:
        """Create a bucket and return its store."""
        self.client.create_bucket(Bucket=bucket)
        return S3Store(bucket, endpoint_url=self.server.endpoint_url)

    def registry(self, store: Store, *, line: str = "bench") -> Registry:
        """Return a registry as a new process would open it."""
        signer, verifier = signer_and_verifier(key_file=self.key, trusted=(), unsigned=False)
        return Registry(store, line, clock=lambda: datetime.now(tz=UTC), signer=signer, verifier=verifier)

    def publish(self, registry: Registry, path: Path) -> str:
        """Publish the file as the new champion, and return its version."""
        self._candidates += 1
        name = str(self._candidates).encode()
        manifest = Manifest(
            files={"adapter_model.safetensors": registry.put_file(path)},
            base_fingerprint="b" * 64,
            parent=registry.cached_state.champion,
            cycle_key=digest_of(b"cycle " + name),
            data_digest=digest_of(b"data " + name),
            config={},
            code_version="bench",
            created=datetime.now(tz=UTC),
        )
        return registry.publish(manifest, make_champion=True, actor="bench", reason="measured").version

    def command(self, *arguments: str, line: str, bucket: str) -> float:
        """Run `everlearn` with these arguments, and return the seconds of the whole process."""
        environment = os.environ | {
            "EVERLEARN_STORE__ENDPOINT_URL": self.server.endpoint_url,
            "EVERLEARN_STORE__BUCKET": bucket,
            "EVERLEARN_STORE__LINE": line,
            "EVERLEARN_SIGNING__KEY_FILE": str(self.key),
        }
        program = [sys.executable, "-c", "from everlearn.cli import main; main()", "--home", str(self.folder / "home")]
        started = time.perf_counter()
        subprocess.run(
            [*program, *arguments], check=True, env=environment, capture_output=True, stdin=subprocess.DEVNULL
        )
        return time.perf_counter() - started


def timed(act: Callable[[], object]) -> float:
    """Return the seconds that `act` takes."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def measure_publish(bench: Bench, *, size: int, rounds: int) -> dict[str, Any]:
    """Return the throughput of publishing relative to boto3 alone, each round on new random bytes."""
    store = bench.store(f"publish-{size // MB}mb")
    registry, path = bench.registry(store), bench.folder / "adapter_model.safetensors"
    path.write_bytes(os.urandom(MB))
    bench.publish(registry, path)  # the first event of a line checks the store's conditional writes, once
    pairs: list[tuple[float, float]] = []
    for number in range(rounds):
        times: dict[str, float] = {}
        for way in ("raw", "ours") if number % 2 else ("ours", "raw"):
            path.write_bytes(os.urandom(size))
            if way == "ours":
                times[way] = timed(partial(bench.publish, registry, path))
            else:
                times[way] = timed(partial(raw, bench, store.bucket, path, key=f"raw/{number}"))
        pairs.append((times["raw"], times["ours"]))
        print(f"publish {size // MB} MB: raw {times['raw']:.3f} s, ours {times['ours']:.3f} s", file=sys.stderr)
    path.unlink()
    ratios = sorted(before / after for before, after in pairs)
    raw_s, ours_s = (median(times) for times in zip(*pairs, strict=True))
    return {"ratio": median(ratios), "ratios": ratios, "raw_s": raw_s, "ours_s": ours_s}


def raw(bench: Bench, bucket: str, path: Path, *, key: str) -> None:
    """Upload as a user without a registry would: boto3's own upload, in parallel parts for a large file."""
    if path.stat().st_size <= 16 * MB:
        bench.client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
    else:
        bench.client.upload_file(str(path), bucket, key)


def measure_rollback(bench: Bench, *, rounds: int) -> dict[str, Any]:
    """Time `everlearn rollback`, with a promotion between rounds, and a Python process that does nothing."""
    store = bench.store("rollback")
    registry, path = bench.registry(store), bench.folder / "small.safetensors"
    for number in range(3):
        path.write_bytes(os.urandom(MB + number))
        bench.publish(registry, path)
    seconds: list[float] = []
    for _ in range(rounds):
        seconds.append(
            bench.command("rollback", "--keep", "--reason", "measured", "--yes", line="bench", bucket="rollback")
        )
        registry.promote("v0003", reason="measured", actor="bench")
    bare = sorted(timed(lambda: subprocess.run([sys.executable, "-c", ""], check=True)) for _ in range(rounds))
    return {"seconds": median(seconds), "all": sorted(seconds), "python_alone_s": median(bare)}


def measure_history(bench: Bench, *, versions: int, rounds: int) -> dict[str, Any]:
    """Time `everlearn history` on a line of `versions` versions, made in memory and copied to the server."""
    memory, path = MemoryStore(), bench.folder / "tiny.safetensors"
    path.write_bytes(b"weights")
    registry = bench.registry(memory)
    for _ in range(versions):
        bench.publish(registry, path)
    store = bench.store("history")
    held = list(memory.list())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda each: store.put(each.key, memory.get(each.key).data), held))
    counting = Counting(store)
    bench.registry(counting).state()
    seconds = [bench.command("history", line="bench", bucket="history") for _ in range(rounds)]
    size = sum(each.size for each in held)
    times = {"seconds": median(seconds), "all": sorted(seconds)}
    return times | {"versions": versions, "reads": counting.reads, "objects": len(held), "bytes": size}


class Counting:
    """A store that counts reads."""

    def __init__(self, inner: S3Store) -> None:
        self._inner = inner
        self.reads = 0

    def get(self, key: str) -> Any:
        """Read an object, and count it."""
        self.reads += 1
        return self._inner.get(key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def main() -> None:
    """Measure, write docs/registry.json, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--versions", type=int, default=VERSIONS)
    parser.add_argument("--large", type=int, default=500, help="size of the large file in MB")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object, last")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-registry-") as made, LocalS3(Path(made) / "s3") as server:
        bench = Bench(Path(made), server)
        measured = {
            "rollback": measure_rollback(bench, rounds=3 * options.rounds),
            "publish_10mb": measure_publish(bench, size=10 * MB, rounds=4 * options.rounds),
            "publish_500mb": measure_publish(bench, size=options.large * MB, rounds=options.rounds),
            "history": measure_history(bench, versions=options.versions, rounds=options.rounds),
        }
    summary = {
        "publish_ratio_10mb": measured["publish_10mb"]["ratio"],
        "publish_ratio_500mb": measured["publish_500mb"]["ratio"],
        "rollback_seconds": measured["rollback"]["seconds"],
        "history_10000_seconds": measured["history"]["seconds"],
    }
    processor = platform.processor() or platform.machine()
    machine = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": processor, "cores": os.cpu_count()}
    OUT.write_text(json.dumps(machine | summary | {"measured": measured}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(measured, indent=1))
    if options.json:
        print(json.dumps(summary))


if __name__ == "__main__":
    main()
