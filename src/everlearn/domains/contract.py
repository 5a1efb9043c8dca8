"""The contract of a domain: a kind of problem, its grammar, and how answers to it are verified.

A domain is a plug-in: an installed package provides it as an entry point of the group `everlearn.domains`. The name of
the entry point is the name used in data rows and settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from everlearn.errors import UnknownDomainError

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence
    from importlib.metadata import EntryPoint

    from everlearn.problem import Problem, Verdict

GROUP = "everlearn.domains"


class Domain(Protocol):
    """What the nightly cycle needs of a domain. Statements and answers are untrusted text and are never evaluated."""

    @property
    def name(self) -> str:
        """The name of the entry point."""
        ...

    @property
    def moves(self) -> tuple[str, ...]:
        """The verbs that ask the model for a variant."""
        ...

    def problem(self, statement: str, *, id: str | None = None) -> Problem:  # noqa: A002
        """Return the statement as a problem. Raises GrammarError if it is not in the grammar, or beyond its limits."""
        ...

    def canonical(self, statement: str) -> str:
        """Return text that is equal for equal problems. Used to detect duplicates."""
        ...

    def equivalence(self, statement: str) -> str:
        """Return a key that is equal for the same problem in other words, such as a multiple. Used to detect leaks.

        A domain that changes the rule names it by an attribute `equivalence_scheme`, so that stored keys are renewed.
        """
        ...

    def verify(self, statement: str, answer: str, *, seed: int = 0) -> Verdict:
        """Judge an answer fast, in this process. Raises GrammarError if the statement cannot be parsed."""
        ...

    def recheck(self, statement: str, answer: str, *, digits: int = 50) -> Verdict:
        """Judge an answer again, slowly, at high precision and by an independent method."""
        ...

    def prompt(self, statement: str, *, rng: random.Random) -> str:
        """Return the prompt that asks the model to solve the problem."""
        ...

    def extract(self, completion: str) -> str:
        """Return the answer in a completion of the model."""
        ...

    def propose(self, statement: str, move: str, *, rng: random.Random) -> str:
        """Return the prompt that asks the model for a variant."""
        ...

    def apply(self, statement: str, move: str, prompt: str, completion: str) -> str | None:
        """Return the statement of the variant that a completion proposes, or None if it proposes none."""
        ...

    def generate(self, rng: random.Random, *, like: Sequence[Problem] = (), size: int = 1) -> str:
        """Return a random problem of the families of `like` and as hard as these, or one of the given size.

        It may equal a problem of `like` or an earlier result: a domain without a generator returns one of `like`.
        """
        ...

    def size(self, statement: str) -> int:
        """Return a measure of difficulty for tables that does not depend on a model."""
        ...

    # Optional: `skill(statement) -> str`, the label by which replay keeps problems of every kind.


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactProof:
    """An exact check of an answer by computer algebra, for display.

    `canonical` is the answer as the algebra system writes it, `difference` is derivative minus integrand, simplified.
    All three texts are empty if nothing was decided in time.
    """

    canonical: str = ""
    derivative: str = ""
    difference: str = ""
    proved: bool

    @classmethod
    def not_decided(cls) -> Self:
        """Return the result of a check that came to no end."""
        return cls(proved=False)

    @property
    def status(self) -> str:
        """`proved` or `not decided`. There is no exact disproof."""
        return "proved" if self.proved else "not decided"


@runtime_checkable
class ExactProver(Protocol):
    """An optional member of a domain. For a domain without it, every proof is "not decided"."""

    def prove(self, statement: str, answer: str) -> ExactProof:
        """Check an answer exactly. May take unbounded time: call it through `everlearn.domains.exact_proofs`."""
        ...


def known_domains() -> tuple[str, ...]:
    """Return the names of all domains that installed packages provide, sorted."""
    return tuple(sorted(entry_points(group=GROUP).names))


def load_domain(name: str) -> Domain:
    """Return the domain of that name. Raises UnknownDomainError as `find_domain` does."""
    domain: Domain = find_domain(name).load()()
    return domain


def find_domain(name: str) -> EntryPoint:
    """Return the entry point of the domain of that name, so that another process can load it.

    Raises:
        UnknownDomainError: no installed package provides it; the message lists the known names.
    """
    found = list(entry_points(group=GROUP, name=name))
    if not found:
        shown = name if len(name) <= 40 else f"{name[:40]}…"
        raise UnknownDomainError(
            f"unknown domain {shown!r}: use one of {', '.join(known_domains()) or '(none installed)'}, or install a "
            f"package that provides it as an entry point of {GROUP}"
        )
    return found[0]
