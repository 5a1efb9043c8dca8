"""The record of a line: stored answers of the best version on each guarded item, several an item.

A version's manifest names the record of its ancestry. An item enters it with answers of the night's parent, and gets
those of a new version where that is shown to be better on the item's suite. These are fresh answers: the ones that
showed it are lucky ones. A record is JSON, `{"items": {key: [right, undecided, samples, policy, asked]}}`.

Only answers to the same way of asking are compared (`way_of_asking`). Where the settings have changed it, what was
recorded in another way is answered afresh by the policies that it is of: a lower temperature would hide a loss, and a
higher one would look like one.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import astuple, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from everlearn.data.memory_suite import PREFIX, memory_name
from everlearn.data.suites import Suite, SuiteKind, parse
from everlearn.errors import IntegrityError
from everlearn.problem import Ruling
from everlearn.settings import ComputeSettings, FormatSettings, GateSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from everlearn.problem import Problem
    from everlearn.registry.manifest import Manifest
    from everlearn.registry.versions import Registry

RIGHT, UNDECIDED, NOT_RIGHT = "1", "u", "0"
"""How an answer is stored. A look at a suite is a text with one of these for each item."""
WHOLE_MEMORY = memory_name("all")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedItem:
    """Answers to one item by `policy`: the base model, a version, or the candidate of a night.

    `asked` is the way of asking; older revisions stored none.
    """

    right: int
    undecided: int
    samples: int
    policy: str
    asked: str = ""

    @classmethod
    def from_plain(cls, values: Sequence[Any]) -> RecordedItem:
        """Inverse of `astuple`. Raises ValueError if these are not five values, or the first four."""
        right, undecided, samples, policy, asked = values if len(values) == len(fields(cls)) else (*values, "")
        return cls(right=right, undecided=undecided, samples=samples, policy=policy, asked=asked)

    @property
    def share(self) -> float:
        """Share of right answers, the undecided among them: a candidate is compared with what was right at most."""
        return (self.right + self.undecided) / self.samples

    @property
    def doubted(self) -> float:
        """Share of undecided answers."""
        return self.undecided / self.samples


Record = dict[str, RecordedItem]


def way_of_asking(config: Mapping[str, Any]) -> str:
    """Return a digest of what answers depend on besides policy and problem: temperature of the looks, format and quantization.

    `config` are settings as plain values. What it lacks has its default.
    """
    gate, compute = config.get("gate", {}), config.get("compute", {})
    chosen = {
        "look_temperature": gate.get("look_temperature", GateSettings().look_temperature),
        "quantization": compute.get("quantization", ComputeSettings().quantization),
        "format": FormatSettings().model_dump(mode="json") | config.get("format", {}),
    }
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:12]


def letter_of(ruling: Ruling) -> str:
    """Return how an answer with this ruling is stored."""
    return {Ruling.CORRECT: RIGHT, Ruling.UNDECIDED: UNDECIDED}.get(ruling, NOT_RIGHT)


def guarded_suites(suites: Iterable[Suite]) -> tuple[Suite, ...]:
    """Return the suites that are compared with the record: each shipped one, and the memory of all nights as one.

    A night leaves too few problems to decide anything about it alone.
    """
    guarded = [suite for suite in suites if not suite.kind.is_of_tonight]
    shipped = [suite for suite in guarded if suite.kind is not SuiteKind.MEMORY]
    memory = tuple(problem for suite in guarded if suite.kind is SuiteKind.MEMORY for problem in suite.problems)
    whole = [Suite(name=WHOLE_MEMORY, kind=SuiteKind.MEMORY, problems=memory)] if memory else []
    return (*whole, *shipped)


def memory_parts(suites: Iterable[Suite]) -> tuple[tuple[str, int], ...]:
    """Return the name and number of items of each night's memory, in the order of the items of all of it."""
    return tuple((suite.name, len(suite.problems)) for suite in suites if suite.kind is SuiteKind.MEMORY)


def policy_of_night(cycle_key: str) -> str:
    """Return how a record names the candidate of a night, which has no version yet."""
    return f"night {cycle_key[:12]}"


def holder_of(recorded: Sequence[RecordedItem]) -> str | None:
    """Return the policy that most of these items are recorded of; None where no policy has more than half."""
    policy, items = Counter(item.policy for item in recorded).most_common(1)[0]
    return policy if 2 * items > len(recorded) else None


def read_look(look: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return which answers of a look are right, and which are undecided: 1 or 0 for each item."""
    letters = np.array(list(look))
    return (letters == RIGHT).astype(float), (letters == UNDECIDED).astype(float)


def item_key(problem: Problem) -> str:
    """Return the key of an item in a record. It does not reveal a hidden reference."""
    return hashlib.sha256(f"{problem.domain}\x1f{problem.key}".encode()).hexdigest()[:32]


def record_answers(problems: Sequence[Problem], looks: Sequence[str], *, policy: str, asked: str) -> Record:
    """Return the record of a policy that was looked at several times, asked in this way."""
    answers = zip(*looks, strict=True)
    return {
        item_key(problem): RecordedItem(
            right=given.count(RIGHT), undecided=given.count(UNDECIDED), samples=len(given), policy=policy, asked=asked
        )
        for problem, given in zip(problems, answers, strict=True)
    }


def unrecorded(suites: Iterable[Suite], record: Mapping[str, RecordedItem], *, asked: str) -> list[Problem]:
    """Return the items that a record lacks, or has only as answers to another way of asking, each once."""
    items = {item_key(problem): problem for suite in suites for problem in suite.problems}
    return [problem for key, problem in items.items() if key not in record or record[key].asked != asked]


def record_after(version: str | None, registry: Registry) -> Record:
    """Return the newest record that the manifest of a version or of an ancestor names; empty where there is none.

    Nights with `gate.loss_error: night` leave none, and the record of the nights before them stays: a change of the
    setting forgives no loss.
    """
    for _, manifest in _with_ancestors(version, registry):
        if manifest.record is not None:
            recorded, asked = from_json(registry.get_object(manifest.record)), way_of_asking(manifest.config)
            return {key: item if item.asked else replace(item, asked=asked) for key, item in recorded.items()}
    return {}


def memory_after(version: str | None, registry: Registry) -> Suite | None:
    """Return the newest list of problems of earlier nights that the manifest of a version or of an ancestor names; None: there is none.

    Nights with `gate.memory_items: 0` leave none, and the list of the nights before them stays.
    """
    for name, manifest in _with_ancestors(version, registry):
        if manifest.memory is not None:
            return parse(registry.get_object(manifest.memory).decode(), name=PREFIX, where=f"memory of {name}")
    return None


def _with_ancestors(version: str | None, registry: Registry) -> Iterator[tuple[str, Manifest]]:
    while version is not None:
        manifest = registry.manifest(version)
        yield version, manifest
        version = manifest.parent


def to_json(record: Mapping[str, RecordedItem]) -> bytes:
    """Return one JSON object with sorted keys: equal records give equal bytes."""
    items = {key: astuple(item) for key, item in record.items()}
    return json.dumps({"items": items}, sort_keys=True, separators=(",", ":")).encode()


def from_json(data: bytes) -> Record:
    """Inverse of `to_json`. Raises IntegrityError if this is no record."""
    try:
        items = json.loads(data)["items"].items()
        return {key: RecordedItem.from_plain(values) for key, values in items}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError(f"not the record of a line: {error}; was it written by a newer Everlearn?") from None
