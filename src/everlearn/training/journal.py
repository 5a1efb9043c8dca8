"""Journal of finished units of work, so that a killed job repeats only the units after its newest segment.

    journal = Journal(kept=work.parts("growth"), keep=lambda segment: work.append("growth", segment))
    for chunk in chunks:
        passed = journal.once("rate", chunk, lambda: measure(chunk))
    journal.flush()

A segment is JSONL of the units since the segment before it, so that nothing is written twice. Imports no torch.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, TypeVar, cast

from everlearn.canonical_json import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

SECONDS = 10.0
"""Least time between two segments."""
SHARE = 0.01
"""Least share of the time so far between two segments, so that a job of any length writes a few hundred of them."""


class Journal:
    """Results of finished units by name and input. Without `keep`, nothing outlives the process.

    `kept` are the segments of earlier processes, `keep` stores a new one.
    """

    def __init__(
        self,
        *,
        kept: Iterable[bytes] = (),
        keep: Callable[[bytes], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._done = dict(json.loads(line) for segment in kept for line in segment.splitlines())
        self._keep = keep
        self._clock = clock
        self._lines: list[bytes] = []
        self._began = self._last = clock()

    def once(self, name: str, given: object, compute: Callable[[], T]) -> T:
        """Return the result of the unit `name` for the input `given`; compute it if no segment has it.

        `given` and the result must equal their JSON form: texts, numbers, lists of them. A unit with another input is
        another unit, so that a journal of another job or release is never used by mistake.
        """
        unit = f"{name} {digest_of(json.dumps(given).encode())}"
        if unit not in self._done:
            self._done[unit] = compute()
            self._lines.append(json.dumps([unit, self._done[unit]]).encode())
            self._flush_if_due()
        return cast("T", self._done[unit])

    def flush(self) -> None:
        """Write the units since the last segment, if there are any."""
        if self._keep is not None and self._lines:
            self._keep(b"\n".join(self._lines) + b"\n")
        self._lines.clear()
        self._last = self._clock()

    def _flush_if_due(self) -> None:
        now = self._clock()
        if now - self._last >= max(SECONDS, SHARE * (now - self._began)):
            self.flush()
