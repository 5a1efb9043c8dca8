"""Results of in-context learning and of an adapter on the same suite: accuracy, prompt tokens and seconds a request."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from everlearn.problem import Answer
from everlearn.training.job import PSEUDO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from everlearn.domains.contract import Domain


class Choice(StrEnum):
    """How the examples of a prompt are chosen. `NONE`: the prompt has none."""

    NONE = "none"
    RANDOM = "random"
    SIMILAR = "similar"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextResult:
    """Result of one policy on one suite, with `examples` solved problems in each prompt.

    `right` says of each problem, in their order, whether it was answered right. `prompt_tokens`, `answer_tokens`,
    `seconds` (by the clock, of a batch shared by its requests), `cpu_seconds` and `gpu_seconds` (0 on a CPU) are means
    of a request. `is_largest`: no more examples fit the model's window, or are solved; false where that was not
    searched for.
    """

    policy: str
    examples: int
    choice: Choice
    right: tuple[bool, ...]
    prompt_tokens: float
    answer_tokens: float
    seconds: float
    cpu_seconds: float
    gpu_seconds: float = 0.0
    is_largest: bool = False

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return sum(self.right) / len(self.right)

    def to_content(self) -> dict[str, Any]:
        """Return the result as JSON values, with the share of right answers."""
        return asdict(self) | {"right": "".join("01"[each] for each in self.right), "accuracy": self.accuracy}

    @classmethod
    def from_content(cls, content: Mapping[str, Any]) -> ContextResult:
        """Invert `to_content`."""
        kept = {
            name: content[name] for name in cls.__dataclass_fields__ if name in content
        }  # older ones lack gpu_seconds and is_largest
        right = tuple(mark == "1" for mark in content["right"])
        return cls(**kept | {"right": right, "choice": Choice(content["choice"])})


def read_solved(rewarded: bytes, *, domain: Domain) -> list[Answer]:
    """Return the rewarded answers of a night that a verifier judged. `rewarded` is JSON Lines with `statement` and `answer`."""
    rows = map(json.loads, rewarded.splitlines())
    return [Answer(problem=domain.stated(row["statement"]), text=row["answer"]) for row in rows if PSEUDO not in row]


def requests_until_cheaper(
    results: Sequence[ContextResult],
    adapter: ContextResult,
    *,
    paid: float,
    cost: Callable[[ContextResult], float] = attrgetter("cpu_seconds"),
) -> float | None:
    """Return the number of requests after which the adapter's shorter prompts have saved what its training cost, `paid`.

    `cost` returns the cost of a request in the unit of `paid`; by default CPU seconds. The adapter is compared with the
    cheapest context whose accuracy is at least its own. None where there is no such context, or where it costs no more
    than the adapter.
    """
    as_good = [cost(each) for each in results if each.accuracy >= adapter.accuracy]
    saved = min(as_good, default=0.0) - cost(adapter)
    return paid / saved if saved > 0 else None
