"""Domains: what can be asked, in which grammar, and who judges the answers.

A domain is a plug-in: any installed package may offer one as an entry point of the group `everlearn.domains`. The
name of the entry point is what data rows and settings say.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol

from everlearn.errors import UnknownDomainError

if TYPE_CHECKING:
    import random
    from importlib.metadata import EntryPoint

    from everlearn.problem import Problem, Verdict

GROUP = "everlearn.domains"


class Domain(Protocol):
    """What the night needs to know of a domain. All text may come from anybody, and none of it is ever evaluated."""

    @property
    def name(self) -> str:
        """The name under which it is offered."""
        ...

    @property
    def moves(self) -> tuple[str, ...]:
        """The verbs with which the model is asked for a variant."""
        ...

    def problem(self, statement: str, *, id: str | None = None) -> Problem:  # noqa: A002
        """The statement as a problem. GrammarError when it is not in the grammar, or beyond its limits."""
        ...

    def canonical(self, statement: str) -> str:
        """Canonical text: what is the same problem has the same text (for duplicates)."""
        ...

    def equivalence(self, statement: str) -> str:
        """Canonical text up to a constant factor: who shares it, solves the other (for leaks)."""
        ...

    def verify(self, statement: str, answer: str, *, seed: int = 0) -> Verdict:
        """Judge an answer, fast and in this process. GrammarError when the statement cannot be read."""
        ...

    def recheck(self, statement: str, answer: str, *, digits: int = 50) -> Verdict:
        """Judge an answer again, slowly, at high precision and by another way."""
        ...

    def prompt(self, statement: str, *, rng: random.Random) -> str:
        """The text given to the model."""
        ...

    def extract(self, completion: str) -> str:
        """The answer in what the model wrote."""
        ...

    def propose(self, statement: str, move: str, *, rng: random.Random) -> str:
        """The prompt that asks the model for a variant."""
        ...

    def apply(self, statement: str, move: str, prompt: str, completion: str) -> str | None:
        """The statement of the variant that a completion proposes, or None where it proposes none."""
        ...

    def generate(self, rng: random.Random, *, like: str | None = None, size: int | None = None) -> str:
        """A fresh problem, like a given one or of a given size."""
        ...

    def size(self, statement: str) -> int:
        """A label of difficulty for tables, that no model made."""
        ...


def known_domains() -> tuple[str, ...]:
    """The names of all domains that installed packages offer, sorted."""
    return tuple(sorted(entry_points(group=GROUP).names))


def load_domain(name: str) -> Domain:
    """The domain of that name. UnknownDomainError as `find_domain`."""
    domain: Domain = find_domain(name).load()()
    return domain


def find_domain(name: str) -> EntryPoint:
    """Where the domain of that name is, so that another process can load it.

    Raises:
        UnknownDomainError: no installed package offers it; the message names those there are.
    """
    found = list(entry_points(group=GROUP, name=name))
    if not found:
        shown = name if len(name) <= 40 else f"{name[:40]}…"
        raise UnknownDomainError(
            f"unknown domain {shown!r}: use one of {', '.join(known_domains()) or '(none installed)'}, or install the "
            f"package that offers it as an entry point of {GROUP}"
        )
    return found[0]
