"""A night's own suites: its held-out problems (`target`), and generated ones that resemble them (`fillers`).

Two suites, because only the first one says something about the problems that arrived. The second adds items of the same
families, as far as the domain can generate any.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from everlearn.data.generated_problems import draw_different, reserve
from everlearn.data.suites import Suite, SuiteKind
from everlearn.domains.contamination import equivalence_keys

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from everlearn.data.holdout import Split
    from everlearn.data.used_problems import EarlierUse
    from everlearn.domains.contract import Domain
    from everlearn.problem import Problem

TARGET, FILLERS = "target", "fillers"


def suite_name(base: str, part: str, *, domain: Domain) -> str:
    """Return the name of a night's own suite: in a mixture, each of its domains has one."""
    return base if len(domain.parts) == 1 else f"{base}-{part.replace('/', '-')}"


def freeze_own(
    parts: Split, *, domain: Domain, items: frozenset[str], earlier: EarlierUse, least: int, seed: str
) -> list[Suite]:
    """Return the suites about tonight's problems: those held out, and fillers like all of them, up to `least` items together.

    In a mixture, each domain has its own, with its share of `least`. A held-out problem stays in the target where an
    earlier night has held it out too, so that progress on it counts. No filler equals a problem of an earlier night.
    `items` are the equivalence keys of the shipped suites.
    """
    forbidden = items | equivalence_keys([root.statement for root in parts.roots], domain=domain)
    targets = {
        part: freeze_target(
            [problem for problem in parts.held_out if domain.part(problem.statement) == part],
            domain=domain,
            forbidden=forbidden,
            name=suite_name(TARGET, part, domain=domain),
        )
        for part in domain.parts
    }
    frozen = [suite for suite in targets.values() if suite]
    own = [problem for suite in frozen for problem in suite.problems]
    forbidden |= equivalence_keys([problem.statement for problem in own], domain=domain)
    forbidden |= earlier.measured | earlier.trained
    for part, target in targets.items():
        like = [problem for problem in (*parts.roots, *own) if domain.part(problem.statement) == part]
        enough = -(-least // len(domain.parts)) if like else 0
        fillers = generate_fillers(
            like,
            count=enough - len(target.problems if target else ()),
            domain=domain,
            forbidden=forbidden,
            seed=seed,
            name=suite_name(FILLERS, part, domain=domain),
        )
        frozen += [fillers] if fillers else []
    return frozen


def freeze_target(
    held_out: Sequence[Problem], *, domain: Domain, forbidden: Collection[str], name: str = TARGET
) -> Suite | None:
    """Return the held-out problems, each equivalent to no other and with no key in `forbidden`; None if none is left.

    A key is a canonical form or an equivalence key.
    """
    keys: set[str] = set()
    chosen = [
        problem for problem in held_out if reserve(problem.statement, domain=domain, forbidden=forbidden, keys=keys)
    ]
    return Suite(name=name, kind=SuiteKind.TARGET, problems=tuple(chosen)) if chosen else None


def generate_fillers(
    like: Sequence[Problem],
    *,
    count: int,
    domain: Domain,
    forbidden: Collection[str],
    seed: str,
    name: str = FILLERS,
) -> Suite | None:
    """Return up to `count` generated problems of the families of `like`, none equivalent to another one or forbidden.

    Fewer, or None, where the domain has no more of these families.
    """
    rng = random.Random(f"fillers:{seed}")  # noqa: S311 - a seeded choice is no cryptography
    chosen = draw_different(lambda: domain.generate(rng, like=like), count=count, domain=domain, forbidden=forbidden)
    return Suite(name=name, kind=SuiteKind.GENERATED, problems=tuple(chosen)) if chosen else None
