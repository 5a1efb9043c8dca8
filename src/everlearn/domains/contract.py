"""The contract of a domain: a kind of problem, its grammar, and how answers to it are verified.

A domain is a plug-in (`plugin.py`): an installed package provides it as an entry point of the group `everlearn.domains`.
The name of the entry point is the name used in data rows and settings; a family of domains is named with one of its tasks,
`gym/chain_sum` (`domain_names.py`). `load_domain` returns the plug-in with a default
for each member that it does not have, so that callers need not know which ones it has.

Keys and sizes are functions of the statement alone: a reference can be in none of them.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from everlearn.canonical_json import digest_of
from everlearn.domains.answer_extraction import extract_answer
from everlearn.domains.domain_names import GROUP, find_domain, known_domains, make_plugin, tasks_of
from everlearn.domains.hidden_reference import hide_reference, hiding_reference
from everlearn.domains.plugin import REQUIRED, DomainPlugin, ExactProof
from everlearn.errors import BadInputError, GrammarError
from everlearn.problem import ANSWER_FIELDS, REFERENCE_FIELD, Problem, Ruling, Verdict

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence
    from importlib.metadata import EntryPoint

__all__ = [
    "GROUP",
    "Domain",
    "DomainPlugin",
    "ExactProof",
    "find_domain",
    "known_domains",
    "load_domain",
    "open_domain",
    "tasks_of",
]

PART_SIZES = 1000
"""Sizes of one part of a mixture: those of its first domain are below it, those of the second below twice as much, and so on."""
EASIER = "easier"
"""The only move of a domain that names none."""


class Domain:
    """A plug-in with all members of a domain: its own, or a default. Properties state which of them are its own."""

    def __init__(self, plugin: DomainPlugin) -> None:
        missing = [name for name in REQUIRED if not hasattr(plugin, name)]
        if missing:
            raise BadInputError(
                f"the domain {type(plugin).__name__} has no {' and no '.join(map(repr, missing))}: a plug-in needs "
                f"{', '.join(REQUIRED)}"
            )
        self.name = str(plugin.name)
        self._plugin: Any = plugin
        self._takes_seed = "seed" in inspect.signature(plugin.verify).parameters

    def _has(self, member: str) -> bool:
        return hasattr(self._plugin, member)

    @property
    def takes_references(self) -> bool:
        """Whether the usual answer fields of new rows are references. A field `reference` is one in every domain."""
        return bool(getattr(self._plugin, "takes_references", False))

    @property
    def reference_fields(self) -> tuple[str, ...]:
        """The fields of a new row that may hold its reference, the first one that has a value."""
        return (REFERENCE_FIELD, *(ANSWER_FIELDS if self.takes_references else ()))

    @property
    def has_generator(self) -> bool:
        """Whether the domain can generate problems."""
        return self._has("generate")

    @property
    def has_recheck(self) -> bool:
        """Whether rewarded answers can be judged a second time, by an independent method."""
        return self._has("recheck")

    @property
    def has_moves(self) -> bool:
        """Whether the domain can derive easier variants by itself, without a model."""
        return self._has("ease") and bool(self.moves)

    @property
    def has_proofs(self) -> bool:
        """Whether answers can be proved exactly."""
        return self._has("prove")

    @property
    def equivalence_scheme(self) -> str:
        """The name of the rule of `equivalence`. It changes with the rule, so that stored keys are renewed."""
        return str(getattr(self._plugin, "equivalence_scheme", f"{self.name}/1"))

    def problem(self, row: Mapping[str, Any] | str) -> Problem:
        """Return the problem of a row, or of a statement alone.

        A row has a `statement` and may have a `reference` and an `id`; without one, the id is a digest of the canonical
        form. Raises GrammarError if the row is not in the grammar, or beyond its limits.
        """
        fields = {"statement": row} if isinstance(row, str) else row
        with hiding_reference(fields.get(REFERENCE_FIELD)):
            problem: Problem = self._plugin.problem(fields)
            identity = fields.get("id") or problem.id or digest_of(self.canonical(problem.statement).encode())[:16]
        return replace(problem, id=str(identity), domain=self.name)

    def stated(self, statement: str) -> Problem:
        """Return the problem of a statement that `problem` has returned before. It is not parsed."""
        return Problem(id=statement, domain=self.name, statement=statement)

    def question(self, problem: Problem) -> str:
        """Return the task in words."""
        return str(self._plugin.question(replace(problem, reference=None)))

    def verify(self, problem: Problem, answer: str, *, seed: int = 0) -> Verdict:
        """Judge an answer fast, in this process. Raises GrammarError if the statement cannot be parsed."""
        with hiding_reference(problem.reference):
            verdict = (
                self._plugin.verify(problem, answer, seed=seed)
                if self._takes_seed
                else self._plugin.verify(problem, answer)
            )
        return _without_reference(verdict, problem)

    def recheck(self, problem: Problem, answer: str, *, digits: int = 50) -> Verdict:
        """Judge an answer again, slowly and by an independent method; UNDECIDED where the domain has none.

        `digits` is the precision, for a domain that computes with limited precision.
        """
        if not self.has_recheck:
            return Verdict(ruling=Ruling.UNDECIDED, reason=f"the domain {self.name} has no second judgement")
        options = {"digits": digits} if "digits" in inspect.signature(self._plugin.recheck).parameters else {}
        with hiding_reference(problem.reference):
            verdict = self._plugin.recheck(problem, answer, **options)
        return _without_reference(verdict, problem)

    def prove(self, problem: Problem, answer: str) -> ExactProof:
        """Check an answer exactly. May take unbounded time: call it through `everlearn.domains.exact_proofs`."""
        proof: ExactProof = self._plugin.prove(problem, answer) if self.has_proofs else ExactProof.not_decided()
        return proof

    @property
    def libraries(self) -> tuple[str, ...]:
        """Names of the distributions whose version matters to verdicts."""
        return tuple(getattr(self._plugin, "libraries", ()))

    @property
    def module(self) -> str:
        """Name of the module that the plug-in's class is in."""
        return type(self._plugin).__module__

    def solve(self, problem: Problem) -> str | None:
        """Return a right answer, to attack the verifier with; None if none is known. Default: a reference that is one."""
        if self._has("solve"):
            answer: str | None = self._plugin.solve(problem)
            return answer
        return problem.reference if self.takes_references else None

    @property
    def has_wrong_answers(self) -> bool:
        """Whether the domain makes wrong answers that are close to a right one."""
        return self._has("wrong_answers")

    def wrong_answers(self, problem: Problem, answer: str, *, rng: random.Random) -> list[str]:
        """Return answers that are close to the right `answer` and wrong by construction. Default: none."""
        return list(self._plugin.wrong_answers(problem, answer, rng=rng)) if self.has_wrong_answers else []

    def same_answers(self, problem: Problem, answer: str) -> list[str]:
        """Return the right `answer` in other notation that `verify` accepts. Default: none."""
        return list(self._plugin.same_answers(problem, answer)) if self._has("same_answers") else []

    def extract(self, completion: str) -> str:
        """Return the answer in a completion. Default: `extract_answer`."""
        return str(self._plugin.extract(completion)) if self._has("extract") else extract_answer(completion)

    def canonical(self, statement: str) -> str:
        """Return text that is equal for equal problems, to detect duplicates. Default: the statement, spaces aside."""
        return str(self._plugin.canonical(statement)) if self._has("canonical") else " ".join(statement.split())

    def equivalence(self, statement: str) -> str:
        """Return a key that is equal for the same problem in other words, to detect leaks. Default: the canonical form."""
        return str(self._plugin.equivalence(statement)) if self._has("equivalence") else self.canonical(statement)

    def size(self, statement: str) -> int:
        """Return a measure of difficulty that does not depend on a model. Default: 1, so that all are in one class."""
        return int(self._plugin.size(statement)) if self._has("size") else 1

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the domains that this one is mixed of; its own for any other."""
        return tuple(getattr(self._plugin, "parts", (self.name,)))

    def part(self, statement: str) -> str:
        """Return which of `parts` a problem is of."""
        return str(self._plugin.part(statement)) if self._has("part") else self.name

    def difficulty(self, statement: str) -> str:
        """Return a label of the difficulty, for tables. Default: the size."""
        return str(self._plugin.difficulty(statement)) if self._has("difficulty") else f"size {self.size(statement)}"

    def skill(self, statement: str) -> str:
        """Return the label by which replay keeps problems of every kind. Default: the domain's name."""
        return str(self._plugin.skill(statement)) if self._has("skill") else self.name

    def generate(self, rng: random.Random, *, like: Sequence[Problem] = (), size: int = 1) -> Problem:
        """Return a random problem of the families of `like` and as hard as these, or one of the given size.

        It may equal a problem of `like` or an earlier result: a domain without a generator returns one of `like`, and
        raises BadInputError if there is none.
        """
        if self.has_generator:
            problem: Problem = self._plugin.generate(rng, like=like, size=size)
            identity = problem.id or self.problem(problem.statement).id
            return replace(problem, id=identity, domain=self.name)
        if not like:
            raise BadInputError(f"the domain {self.name} has no generator: give it problems")
        return rng.choice(like)

    @property
    def moves(self) -> tuple[str, ...]:
        """The names of the moves towards easier variants."""
        return tuple(getattr(self._plugin, "moves", (EASIER,)))

    @property
    def model_proposes(self) -> bool:
        """Whether the model is asked for variants. Default: yes. No: problems of the domain are not written by hand."""
        return bool(getattr(self._plugin, "model_proposes", True))

    def propose(self, statement: str, move: str) -> str:
        """Return the words that ask for a variant. Default: for an easier problem of the same kind."""
        if self._has("propose"):
            return str(self._plugin.propose(statement, move))
        asked = self.question(self.stated(statement))
        return (
            f"Here is a task:\n\n{asked}\n\nDo not solve it. Write one easier task of the same kind, in the same form as "
            f"this: {statement}\nAnswer with that alone, on one line."
        )

    def read_variant(self, statement: str, move: str, text: str) -> str | None:
        """Return the statement that a model proposes in these words, or None. Default: an answer in the grammar."""
        if self._has("read_variant"):
            variant: str | None = self._plugin.read_variant(statement, move, text)
            return variant
        try:
            return self.problem(self.extract(text)).statement
        except GrammarError:
            return None

    def ease(self, statement: str, move: str, *, rng: random.Random) -> str | None:
        """Return a variant that the domain derives by itself, or None: it has no such move, or it does not apply."""
        variant: str | None = self._plugin.ease(statement, move, rng=rng) if self.has_moves else None
        return variant

    @property
    def request_tokens(self) -> int | None:
        """Most tokens of an answer, where problems are whole requests; None: the line's format says how they are asked."""
        found = getattr(self._plugin, "request_tokens", None)
        return None if found is None else int(found)

    @property
    def has_terms(self) -> bool:
        """Whether problems are sums of terms, which a notation may mark."""
        return self._has("split") and self._has("join")

    def split(self, statement: str) -> list[str]:
        """Return the signed terms of a problem. Default: one term."""
        return list(self._plugin.split(statement)) if self.has_terms else [statement]

    def join(self, terms: Sequence[str]) -> str:
        """Return the statement of these terms. Default: the terms with spaces between."""
        return str(self._plugin.join(terms)) if self.has_terms else " ".join(terms)


def _without_reference(verdict: Verdict, problem: Problem) -> Verdict:
    return replace(verdict, reason=hide_reference(verdict.reason, problem.reference)) if problem.reference else verdict


def load_domain(name: str) -> Domain:
    """Return the domain of that name. Raises UnknownDomainError as `find_domain` does."""
    return open_domain(find_domain(name))


def open_domain(entry: EntryPoint) -> Domain:
    """Load the plug-in and complete it.

    Raises:
        BadInputError: it lacks a required member.
        UnknownDomainError: it is a family and the entry point names no task of it, or what it needs is not installed.
    """
    return Domain(make_plugin(entry))
