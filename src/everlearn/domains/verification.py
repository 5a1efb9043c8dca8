"""Verify a stream of answers: one JSON object per line in, one per line out, in the same order.

    {"id": "a-17", "problem": "2*x", "answer": "x^2 + 7"}   ->   {"id": "a-17", "verdict": "CORRECT", "reason": "…"}

Lines are read as those of new problems are (`json_lines`), and every name in `STATEMENT_FIELDS` and `ANSWER_FIELDS` is
accepted. A field `reference` is the problem's reference. `domain` is optional; the default of `id` is the line number. The result for an invalid line is UNDECIDED, with
a reason that names the line and what to change; an answer that cannot be read in a valid line is UNREADABLE. Lines are
verified one by one, so memory stays bounded for any input.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from everlearn.domains.contract import load_domain
from everlearn.domains.hidden_reference import reference_in
from everlearn.domains.pool import VerifierPool
from everlearn.errors import BadInputError
from everlearn.json_lines import parse_object, read_lines
from everlearn.problem import ANSWER_FIELDS, STATEMENT_FIELDS, Ruling, Verdict

if TYPE_CHECKING:
    from everlearn.domains.contract import Domain

_EXAMPLE = '{"problem": "2*x", "answer": "x^2"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Numbers of lines by ruling. `invalid` counts the invalid lines, which are also counted as undecided."""

    lines: int
    correct: int
    wrong: int
    unreadable: int
    undecided: int
    invalid: int

    @property
    def is_clean(self) -> bool:
        """Whether every line was valid."""
        return self.invalid == 0


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
    lines = invalid = 0
    with ExitStack() as stack:
        pools = _Pools(stack, default=domain, timeout_s=timeout_s)
        for number, line in read_lines(source, name="the input"):
            lines += 1
            row: dict[str, Any] = {}
            try:
                row = parse_object(line)
                verdict = pools.verify(row, seed=seed)
            except BadInputError as error:
                invalid += 1
                verdict = Verdict(ruling=Ruling.UNDECIDED, reason=f"line {number}: {error}")
            counts[verdict.ruling] += 1
            result = {
                "id": number if row.get("id") is None else row["id"],
                "verdict": verdict.ruling,
                "reason": verdict.reason,
            }
            sink.write(json.dumps(result) + "\n")
            sink.flush()
    if not lines:
        raise BadInputError(f"the input is empty: write one JSON object a line, such as {_EXAMPLE}")
    return Summary(
        lines=lines,
        correct=counts[Ruling.CORRECT],
        wrong=counts[Ruling.WRONG],
        unreadable=counts[Ruling.UNREADABLE],
        undecided=counts[Ruling.UNDECIDED],
        invalid=invalid,
    )


class _Pools:
    """One warm worker for each domain that occurs in the input."""

    def __init__(self, stack: ExitStack, *, default: str, timeout_s: float) -> None:
        self._stack = stack
        self._default = default
        self._timeout_s = timeout_s
        self._pools: dict[str, VerifierPool] = {}
        self._domains: dict[str, Domain] = {}

    def verify(self, row: dict[str, Any], *, seed: int) -> Verdict:
        """Return the verdict on a row. Raises BadInputError if its problem cannot be parsed or its domain is unknown."""
        name = str(row.get("domain") or self._default)
        statement, answer = text_of(row, STATEMENT_FIELDS), text_of(row, ANSWER_FIELDS)
        problem = self._load(name).problem({"statement": statement} | reference_in(row))
        if name not in self._pools:
            self._pools[name] = self._stack.enter_context(VerifierPool(name, timeout_s=self._timeout_s))
        return self._pools[name].verify(problem, answer, seed=seed)

    def _load(self, name: str) -> Domain:
        if name not in self._domains:
            self._domains[name] = load_domain(name)
        return self._domains[name]


def text_of(row: dict[str, Any], names: tuple[str, ...]) -> str:
    """Return the text under the first of `names` for which the row has one. Raises BadInputError if there is none."""
    text = next((row[name] for name in names if isinstance(row.get(name), str)), None)
    if not isinstance(text, str):
        raise BadInputError(f"no text under {' or '.join(map(repr, names))}: write {_EXAMPLE}")
    return text
