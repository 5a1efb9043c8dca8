"""Keys of Prefect artifacts: no two lines share one."""

from __future__ import annotations

import re

from everlearn.canonical_json import digest_of


def artifact_key(kind: str, *, line: str) -> str:
    """Return `night-math`. A name with characters that Prefect does not accept (dots, underscores) gets a digest."""
    plain = re.sub(r"[^a-z0-9-]", "-", line)
    return f"{kind}-{plain}" if plain == line else f"{kind}-{plain}-{digest_of(line.encode())[:8]}"
