"""Settings and data of a night that takes seconds, on the real base model and a real bucket."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everlearn.data.dvc_remote import object_key
from everlearn.data.snapshot import Entry, Snapshot
from everlearn.data.snapshot_store import folder_of
from everlearn.domains.contract import load_domain
from everlearn.registry.connect import open_store
from everlearn.settings import Settings
from tasks.freeze_suites import freeze_suites
from tasks.ingest import ClaimedSnapshot
from tasks.night import hold_line
from tasks.open_night import open_night

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tasks.night import Night
    from tests.conftest import S3Server

ROOT = Path(__file__).parents[2]
LONG = [f"{a}*x^2 + {b}*sin(x) + {a}*exp({b}*x)" for a in range(1, 6) for b in range(1, 6)]
SHORT = [f"{a}*cos({b}*x)" for a in range(2, 6) for b in range(2, 5)]


def tiny(server: S3Server, bucket: str, *, line: str = "integration", **changes: Any) -> Settings:
    """Return the settings of a night of some seconds on that bucket."""
    plain: dict[str, Any] = {
        "store": {"bucket": bucket, "endpoint_url": server.endpoint_url, "line": line},
        "signing": {"unsigned": True},
        "base": {"path": ROOT / "data" / "base"},
        "ingest": {"min_target_items": 8},
        "ladder": {"rungs": 6, "depth": 1, "breadth": 6, "rollouts": 2},
        "learn": {"steps": 2, "prompts": 4, "group": 2, "rank": 2, "checkpoint_every": 1},
    }
    return Settings.model_validate(plain | changes)


def write_shard(path: Path, problems: Iterable[str]) -> Path:
    """Write one shard of problems. Return its directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"problem": problem}) + "\n" for problem in problems), encoding="utf-8")
    return path.parent


def stored_snapshot(settings: Settings, statements: Iterable[str]) -> ClaimedSnapshot:
    """Write the snapshot of these problems into the bucket as DVC lays it out, without its process; return the claim."""
    domain, store = load_domain("integration"), open_store(settings.store)
    distinct = {domain.canonical(text): text for text in statements}
    entries = tuple(
        Entry(canonical=canonical, id=f"p{number}", domain="integration", statement=text)
        for number, (canonical, text) in enumerate(distinct.items())
    )
    snapshot = Snapshot(sources=(), entries=entries)
    md5 = hashlib.md5(snapshot.to_bytes(), usedforsecurity=False).hexdigest()
    pointer = f"outs:\n- md5: {md5}\n".encode()
    store.put(object_key(pointer), snapshot.to_bytes())
    store.put(f"{folder_of(settings.store.line, snapshot.digest)}/snapshot.dvc", pointer)
    return ClaimedSnapshot(data_digest=snapshot.digest, problems=len(entries))


def opened(settings: Settings, *problems: str) -> Night:
    """Return an open night on these problems, with its suites frozen."""
    with hold_line(settings) as token:
        night = open_night.fn(settings, token, stored_snapshot(settings, problems))
        assert freeze_suites.fn(night)
    return night


def write_suite(folder: Path) -> None:
    """Write a skill suite of a dozen short problems into the default suites directory below `folder`."""
    header = {"suite": "short", "kind": "skill"}
    lines = [header, *({"id": f"s{number}", "statement": text} for number, text in enumerate(SHORT))]
    path = folder / "data" / "suites" / "short.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
