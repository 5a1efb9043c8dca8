"""Under which key Prefect keeps what a line shows: no two lines share one."""

from __future__ import annotations

import re

from everlearn.canonical_json import digest_of


def artifact_key(kind: str, *, line: str) -> str:
    """`night-math`; a line whose name Prefect takes for no key (it may hold dots and underscores) is told by a digest."""
    plain = re.sub(r"[^a-z0-9-]", "-", line)
    return f"{kind}-{plain}" if plain == line else f"{kind}-{plain}-{digest_of(line.encode())[:8]}"
