"""What the registry's promises cost: publishing, taking back, and reading a long history.

    python -m bench.registry [--rounds 5] [--json]

All of it on a SeaweedFS of its own, on this machine, on empty buckets. The ways that are compared take turns in one run.

    publish    a file as a new version (hashing, conditions, leases, manifest, event, HEAD) against the same bytes by
               boto3 alone: `put_object` for 10 MB, its parallel multipart `upload_file` for 500 MB
    rollback   `everlearn rollback` as a whole process, Python's own start included
    history    `everlearn history` as a whole process, on a line of 10,000 versions, and the requests that it makes

Writes docs/registry.json. Leaves out: what a network between here and the bucket would add.
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
OUT = Path("docs/registry.json")


class Bench:
    """A server, a key, and the buckets in which the measurements happen."""

    def __init__(self, folder: Path, server: LocalS3) -> None:
        self.folder = folder
        self.server = server
        self.key = folder / "key.pem"
        create_key(self.key)
        os.environ |= {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
        self.client = boto3.client("s3", endpoint_url=server.endpoint_url, region_name="us-east-1")
        self._candidates = 0

    def store(self, bucket: str) -> S3Store:
        """A new bucket."""
        self.client.create_bucket(Bucket=bucket)
        return S3Store(bucket, endpoint_url=self.server.endpoint_url)

    def registry(self, store: Store, *, line: str = "bench") -> Registry:
        """A line as a fresh process would open it."""
        signer, verifier = signer_and_verifier(key_file=self.key, trusted=(), unsigned=False)
        return Registry(store, line, clock=lambda: datetime.now(tz=UTC), signer=signer, verifier=verifier)

    def publish(self, registry: Registry, path: Path) -> str:
        """Publish the file as a version and the champion."""
        self._candidates += 1
        name = str(self._candidates).encode()
        manifest = Manifest(
            files={"adapter_model.safetensors": registry.put_file(path)}, base_fingerprint="b" * 64,
            parent=registry.cached_state.champion, cycle_key=digest_of(b"cycle " + name), config={},
            data_digest=digest_of(b"data " + name), code_version="bench", created=datetime.now(tz=UTC),
        )  # fmt: skip
        return registry.publish(manifest, make_champion=True, actor="bench", reason="measured").version

    def command(self, *words: str, line: str, bucket: str) -> float:
        """Seconds that `everlearn WORDS` takes as a process."""
        environment = os.environ | {
            "EVERLEARN_STORE__ENDPOINT_URL": self.server.endpoint_url, "EVERLEARN_STORE__BUCKET": bucket,
            "EVERLEARN_STORE__LINE": line, "EVERLEARN_SIGNING__KEY_FILE": str(self.key),
        }  # fmt: skip
        program = [sys.executable, "-c", "from everlearn.cli import main; main()", "--home", str(self.folder / "home")]
        started = time.perf_counter()
        subprocess.run([*program, *words], check=True, env=environment, capture_output=True, stdin=subprocess.DEVNULL)
        return time.perf_counter() - started


def timed(act: Callable[[], object]) -> float:
    """Seconds."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def measure_publish(bench: Bench, *, size: int, rounds: int) -> dict[str, Any]:
    """Throughput of publishing over that of boto3 alone, round by round, each on bytes never seen before."""
    store = bench.store(f"publish-{size // MB}mb")
    registry, path = bench.registry(store), bench.folder / "adapter_model.safetensors"
    path.write_bytes(os.urandom(MB))
    bench.publish(registry, path)  # the first event of a line proves the store's conditions, once
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
    return {"ratio": median(ratios), "ratios": ratios, "raw_s": median(raw_s for raw_s, _ in pairs),
            "ours_s": median(ours for _, ours in pairs)}  # fmt: skip


def raw(bench: Bench, bucket: str, path: Path, *, key: str) -> None:
    """What a user without a registry would do: boto3's own upload, which goes parallel where the file is large."""
    if path.stat().st_size <= 16 * MB:
        bench.client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
    else:
        bench.client.upload_file(str(path), bucket, key)


def measure_rollback(bench: Bench, *, rounds: int) -> dict[str, Any]:
    """`everlearn rollback`, with a promotion back in between; beside it, a Python that does nothing."""
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
    """`everlearn history` on a line of `versions` versions, made in memory and copied to the server."""
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
    return {"seconds": median(seconds), "all": sorted(seconds), "versions": versions, "reads": counting.reads,
            "objects": len(held), "bytes": sum(each.size for each in held)}  # fmt: skip


class Counting:
    """A store that counts the objects that are read."""

    def __init__(self, inner: S3Store) -> None:
        self._inner = inner
        self.reads = 0

    def get(self, key: str) -> Any:
        """As the store does."""
        self.reads += 1
        return self._inner.get(key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def main() -> None:
    """Measure, write, and print the summary last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--versions", type=int, default=VERSIONS)
    parser.add_argument("--large", type=int, default=500, help="size of the large file in MB")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object, last")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-registry-") as made, LocalS3(Path(made) / "s3") as server:
        bench = Bench(Path(made), server)
        found = {
            "rollback": measure_rollback(bench, rounds=3 * options.rounds),
            "publish_10mb": measure_publish(bench, size=10 * MB, rounds=4 * options.rounds),
            "publish_500mb": measure_publish(bench, size=options.large * MB, rounds=options.rounds),
            "history": measure_history(bench, versions=options.versions, rounds=options.rounds),
        }
    summary = {
        "publish_ratio_10mb": found["publish_10mb"]["ratio"],
        "publish_ratio_500mb": found["publish_500mb"]["ratio"],
        "rollback_seconds": found["rollback"]["seconds"],
        "history_10000_seconds": found["history"]["seconds"],
    }
    machine = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": platform.processor() or platform.machine(),
               "cores": os.cpu_count()}  # fmt: skip
    OUT.write_text(json.dumps(machine | summary | {"measured": found}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
    if options.json:
        print(json.dumps(summary))


if __name__ == "__main__":
    main()
