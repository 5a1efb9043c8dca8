"""Answers that earlier nights measured: what the same policy was asked in the same way is not decoded and judged again.

Greedy answers depend on the policy's bytes, the problem, how it is asked, and the code. An answer is used again only
where all of these are the same, and vLLM's never: which release of it a server runs is not known here. A new target is
always measured; what a line compares with besides it (the base, the best version of each suite, the parent on guarded
suites) stays the same for many nights. An `UNDECIDED` verdict is not kept: it may have been the time limit of a busy
machine.
"""

from __future__ import annotations

import contextlib
import json
import platform
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from everlearn.canonical_json import canonical, digest_of
from everlearn.cycle.workspace import Workspace
from everlearn.domains.certification.code_version import code_version, package_digest
from everlearn.domains.contract import load_domain
from everlearn.errors import NotFoundError
from everlearn.problem import Measurement, Ruling, Verdict
from tasks.night import as_json

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from everlearn.data.suites import Suite
    from everlearn.problem import Problem
    from tasks.night import Night

NIGHTS = 8
"""Nights that are searched, the newest ones. Every night keeps what it used, so that the last one usually has all."""
LIBRARIES = ("torch", "transformers", "tokenizers", "bitsandbytes", "liger-kernel")
CODE = package_digest("everlearn.problem", libraries=LIBRARIES)
"""The code of this process: read when it starts, since the files may be another release's when a night measures."""
ASKED = {"threads", "compute", "format"}
"""Settings on which a greedy answer depends, besides the seed."""


@dataclass(frozen=True, kw_only=True)
class KnownAnswers:
    """Answers of one policy, by problem. `name` is that of the workspace's result that holds them."""

    name: str
    found: Mapping[str, Measurement]

    def of(self, problem: Problem) -> Measurement:
        """Return the answer to a problem as an item of the suite that it is in now. KeyError without one."""
        return replace(self.found[_key_of(problem)], item=problem.id, root=problem.root or problem.id)

    def without(self, suite: Suite) -> Suite:
        """Return the suite with the problems that have no answer yet."""
        return replace(suite, problems=tuple(each for each in suite.problems if _key_of(each) not in self.found))

    def plus(self, answers: Mapping[Problem, Measurement]) -> KnownAnswers:
        """Return these answers and more."""
        return replace(self, found={**self.found, **{_key_of(each): row for each, row in answers.items()}})


def known_answers(night: Night, files: Mapping[str, str], domains: Collection[str]) -> KnownAnswers:
    """Return what earlier nights measured of the policy with these adapter files (digests by name; none for the base)."""
    name = f"answers/{_identity(night, files, domains)}"
    found: dict[str, Measurement] = {}
    for work in _earlier_workspaces(night) if night.settings.rollouts.engine == "local" else ():
        with contextlib.suppress(NotFoundError):
            found = _parse(work.get(name)) | found
    return KnownAnswers(name=name, found=found)


def keep_answers(night: Night, known: KnownAnswers, problems: Iterable[Problem]) -> None:
    """Keep the answers to the problems of this night, for the nights after it."""
    rows = {_key_of(problem): known.of(problem) for problem in problems}
    kept = [
        [key, row.answer, row.verdict.ruling, row.verdict.reason]
        for key, row in sorted(rows.items())
        if row.verdict.ruling is not Ruling.UNDECIDED
    ]
    night.work.put(known.name, as_json(kept))


def _identity(night: Night, files: Mapping[str, str], domains: Collection[str]) -> str:
    """Return a digest of all that the greedy answers to these domains depend on, except the problems."""
    from everlearn.training.gpu import card_of  # imports torch

    settings = night.settings
    return digest_of(
        canonical(
            {
                "base": night.inputs.base_fingerprint,
                "adapter": dict(files),
                "asked": settings.model_dump(mode="json", include=ASKED) | {"seed": settings.learn.seed},
                "on": [platform.machine(), platform.python_version(), card_of(settings.compute)],
                "code": CODE,
                "domains": {name: code_version(load_domain(name)) for name in sorted(domains)},
            }
        )
    )


def _earlier_workspaces(night: Night) -> Iterator[Workspace]:
    keys = dict.fromkeys(event.cycle_key for event in reversed(night.registry.state().history) if event.cycle_key)
    for key in islice(keys, NIGHTS):
        yield Workspace(night.store, night.line, key)


def _key_of(problem: Problem) -> str:
    return digest_of(f"{problem.domain}\x1f{problem.key}".encode())


def _parse(data: bytes) -> dict[str, Measurement]:
    return {
        key: Measurement(item=key, root=key, verdict=Verdict(ruling=Ruling(ruling), reason=reason), answer=answer)
        for key, answer, ruling, reason in json.loads(data)
    }
