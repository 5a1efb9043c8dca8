"""Settings and data of a night that takes seconds, on the real base model and a real bucket."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everlearn.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

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


def write_suite(folder: Path) -> None:
    """Write a skill suite of a dozen short problems into the default suites directory below `folder`."""
    header = {"suite": "short", "kind": "skill"}
    lines = [header, *({"id": f"s{number}", "statement": text} for number, text in enumerate(SHORT))]
    path = folder / "data" / "suites" / "short.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
