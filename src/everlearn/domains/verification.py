"""Verify a stream of answers: one JSON object per line in, one per line out, in the same order.

    {"id": "a-17", "problem": "2*x", "answer": "x^2 + 7"}   ->   {"id": "a-17", "verdict": "CORRECT", "reason": "…"}

`integrand` and `antiderivative` are accepted for `problem` and `answer`; `domain` is optional; the default of `id` is the
line number. The result for an invalid line is UNDECIDED, with a reason that names the line and what to change. Lines
are read with a size limit and verified one by one, so memory stays bounded for any input.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from everlearn.domains.contract import load_domain
from everlearn.domains.pool import VerifierPool
from everlearn.errors import BadInputError
from everlearn.problem import STATEMENT_FIELDS, Ruling, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE_BYTES = 64 * 1024
ANSWER_NAMES = ("answer", "antiderivative")
_EXAMPLE = '{"problem": "2*x", "answer": "x^2"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Numbers of lines by ruling. `unreadable` counts the invalid lines, which are also counted as undecided."""

    lines: int
    correct: int
    wrong: int
    undecided: int
    unreadable: int

    @property
    def is_clean(self) -> bool:
        """Whether every line was valid."""
        return self.unreadable == 0


def verify_lines(
    source: BinaryIO, sink: TextIO, *, seed: int = 0, domain: str = "integration", timeout_s: float = 10.0
) -> Summary:
    """Verify every line of `source` and write one line to `sink` for each. `domain` is the default of a line.

    Raises:
        BadInputError: the input is empty.
        UnknownDomainError: `domain` is unknown. An unknown domain in a line only makes that line invalid.
    """
    load_domain(domain)
    counts: Counter[Ruling] = Counter()
    number = unreadable = 0
    with ExitStack() as stack:
        pools = _Pools(stack, default=domain, timeout_s=timeout_s)
        for number, line in enumerate(_lines(source), start=1):
            row: dict[str, Any] = {}
            try:
                row = _parse_line(line, number)
                verdict = pools.verify(row, number=number, seed=seed)
            except BadInputError as error:
                unreadable += 1
                verdict = Verdict(ruling=Ruling.UNDECIDED, reason=str(error))
            counts[verdict.ruling] += 1
            result = {"id": row.get("id", number), "verdict": verdict.ruling, "reason": verdict.reason}
            sink.write(json.dumps(result) + "\n")
            sink.flush()
    if not number:
        raise BadInputError(f"the input is empty: write one JSON object a line, such as {_EXAMPLE}")
    return Summary(
        lines=number,
        correct=counts[Ruling.CORRECT],
        wrong=counts[Ruling.WRONG],
        undecided=counts[Ruling.UNDECIDED],
        unreadable=unreadable,
    )


class _Pools:
    """One warm worker for each domain that occurs in the input."""

    def __init__(self, stack: ExitStack, *, default: str, timeout_s: float) -> None:
        self._stack = stack
        self._default = default
        self._timeout_s = timeout_s
        self._pools: dict[str, VerifierPool] = {}

    def verify(self, row: dict[str, Any], *, number: int, seed: int) -> Verdict:
        """Return the verdict on a row. Raises BadInputError if its problem cannot be parsed or its domain is unknown."""
        name = row.get("domain", self._default)
        statement, answer = _text(row, STATEMENT_FIELDS, number), _text(row, ANSWER_NAMES, number)
        try:
            load_domain(str(name)).problem(statement)
        except BadInputError as error:
            raise BadInputError(f"line {number}: {error}") from error
        if name not in self._pools:
            self._pools[name] = self._stack.enter_context(VerifierPool(name, timeout_s=self._timeout_s))
        return self._pools[name].verify(statement, answer, seed=seed)


def _lines(source: BinaryIO) -> Iterator[bytes | None]:
    """Yield the lines, and None for one that exceeds the size limit, of which no more is kept in memory."""
    while line := source.readline(MAX_LINE_BYTES + 1):
        if len(line) <= MAX_LINE_BYTES or line.endswith(b"\n"):
            yield line
            continue
        while (more := source.readline(MAX_LINE_BYTES)) and not more.endswith(b"\n"):
            pass
        yield None


def _parse_line(line: bytes | None, number: int) -> dict[str, Any]:
    if line is None:
        raise BadInputError(f"line {number} is longer than {MAX_LINE_BYTES} bytes: shorten it, or split it into lines")
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"line {number} is not UTF-8 (byte {line[error.start]:#04x} at {error.start + 1}): save the file as UTF-8"
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"line {number} is not JSON: write one object a line, such as {_EXAMPLE}") from error
    if not isinstance(row, dict):
        raise BadInputError(f"line {number} is not a JSON object: write one such as {_EXAMPLE}")
    return row


def _text(row: dict[str, Any], names: tuple[str, ...], number: int) -> str:
    """Return the text under the first of `names` that the row has."""
    text = next((row[name] for name in names if name in row), None)
    if not isinstance(text, str):
        raise BadInputError(f"line {number} has no text under {' or '.join(map(repr, names))}: write {_EXAMPLE}")
    return text
