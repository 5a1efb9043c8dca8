"""Several domains in one line: `domain: arithmetic+equations`. Each problem names its own: `arithmetic: 347 + 58`.

All members of the contract are those of the problem's domain. Suites and targets are apart by domain, and the curriculum gives each
the same share of a step, whatever the number of its problems (`ladder.curriculum`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from everlearn.domains.contract import PART_SIZES, Domain, load_domain
from everlearn.domains.domain_names import find_domain, members_of
from everlearn.errors import BadInputError, GrammarError, UnknownDomainError

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    from everlearn.domains.contract import ExactProof
    from everlearn.problem import Problem, Verdict

SEPARATOR = ": "


class Mixture:
    """The domain of several others, by their names with a plus between."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._domains = {member: load_domain(member) for member in members_of(name)}
        every = self._domains.values()
        self.parts = tuple(self._domains)
        self.takes_references = any(domain.takes_references for domain in every)
        self.libraries = tuple(dict.fromkeys(library for domain in every for library in domain.libraries))
        self.model_proposes = all(domain.model_proposes for domain in every)
        self.equivalence_scheme = "+".join(domain.equivalence_scheme for domain in every)
        self.moves = tuple(f"move {number}" for number in range(1, 1 + max(len(domain.moves) for domain in every)))
        # Members that no domain has must be absent: the contract states what is missing.
        optional = {
            "recheck": (self._recheck, any(domain.has_recheck for domain in every)),
            "generate": (self._generate, any(domain.has_generator for domain in every)),
            "ease": (self._ease, any(domain.has_moves for domain in every)),
            "prove": (self._prove, any(domain.has_proofs for domain in every)),
            "wrong_answers": (self._wrong_answers, all(domain.has_wrong_answers for domain in every)),
        }
        for member, (method, has_it) in optional.items():
            if has_it:
                setattr(self, member, method)

    def domain_of(self, statement: str) -> tuple[Domain, str]:
        """Return the domain that a statement names, and what it says there.

        Raises:
            GrammarError: it names none of this mixture.
        """
        name, found, inner = statement.partition(SEPARATOR)
        if not found or name not in self._domains:
            raise GrammarError(
                f"the problem names no domain: give its row one of {', '.join(self._domains)}, or begin it with `{self.parts[0]}: `"
            )
        return self._domains[name], inner

    def problem(self, row: Mapping[str, Any]) -> Problem:
        """Return the problem of a row whose statement names its domain."""
        domain, inner = self.domain_of(row["statement"])
        made = domain.problem({**row, "statement": inner})
        return replace(made, id="", domain=self.name, statement=f"{domain.name}{SEPARATOR}{made.statement}")

    def question(self, problem: Problem) -> str:
        """Return the task in the words of its domain."""
        domain, inner = self._inner(problem)
        return domain.question(inner)

    def extract(self, completion: str) -> str:
        """Return the whole completion: `verify` knows the domain, and finds the answer in it."""
        return completion.strip()

    def verify(self, problem: Problem, answer: str, *, seed: int = 0) -> Verdict:
        """Judge what the problem's domain finds in the answer."""
        domain, inner = self._inner(problem)
        return domain.verify(inner, domain.extract(answer), seed=seed)

    def canonical(self, statement: str) -> str:
        """Return the canonical form in its domain, with the domain's name."""
        domain, inner = self.domain_of(statement)
        return f"{domain.name}{SEPARATOR}{domain.canonical(inner)}"

    def equivalence(self, statement: str) -> str:
        """Return the key in its domain, with the domain's name: problems of two domains are never the same."""
        domain, inner = self.domain_of(statement)
        return f"{domain.name}{SEPARATOR}{domain.equivalence(inner)}"

    def size(self, statement: str) -> int:
        """Return the size in its domain, in a group of sizes of that domain's own."""
        domain, inner = self.domain_of(statement)
        return PART_SIZES * self.parts.index(domain.name) + min(domain.size(inner), PART_SIZES - 1)

    def part(self, statement: str) -> str:
        """Return the name of the problem's domain."""
        return self.domain_of(statement)[0].name

    def difficulty(self, statement: str) -> str:
        """Return the label of its domain, with the domain's name."""
        domain, inner = self.domain_of(statement)
        return f"{domain.name}, {domain.difficulty(inner)}"

    def skill(self, statement: str) -> str:
        """Return the skill in its domain, with the domain's name."""
        domain, inner = self.domain_of(statement)
        return f"{domain.name}/{domain.skill(inner)}"

    def propose(self, statement: str, move: str) -> str:
        """Return the words of its domain that ask for a variant."""
        domain, inner = self.domain_of(statement)
        return domain.propose(inner, self._move(domain, move))

    def read_variant(self, statement: str, move: str, text: str) -> str | None:
        """Return the variant that its domain reads, with the domain's name."""
        domain, inner = self.domain_of(statement)
        variant = domain.read_variant(inner, self._move(domain, move), text)
        return None if variant is None else f"{domain.name}{SEPARATOR}{variant}"

    def solve(self, problem: Problem) -> str | None:
        """Return a right answer, where its domain knows one."""
        domain, inner = self._inner(problem)
        return domain.solve(inner)

    def same_answers(self, problem: Problem, answer: str) -> list[str]:
        """Return the answer in other notation of its domain."""
        domain, inner = self._inner(problem)
        return domain.same_answers(inner, answer)

    def _wrong_answers(self, problem: Problem, answer: str, *, rng: random.Random) -> list[str]:
        domain, inner = self._inner(problem)
        return domain.wrong_answers(inner, answer, rng=rng)

    def _recheck(self, problem: Problem, answer: str, *, digits: int = 50) -> Verdict:
        domain, inner = self._inner(problem)
        return domain.recheck(inner, domain.extract(answer), digits=digits)

    def _prove(self, problem: Problem, answer: str) -> ExactProof:
        domain, inner = self._inner(problem)
        return domain.prove(inner, domain.extract(answer))

    def _ease(self, statement: str, move: str, *, rng: random.Random) -> str | None:
        domain, inner = self.domain_of(statement)
        variant = domain.ease(inner, self._move(domain, move), rng=rng)
        return None if variant is None else f"{domain.name}{SEPARATOR}{variant}"

    def _generate(self, rng: random.Random, *, like: Sequence[Problem] = (), size: int = 1) -> Problem:
        """Return a problem of one of the domains: of `like`, or of those that have a generator, each as often."""
        if like:
            found = {self.part(problem.statement) for problem in like}
            name = rng.choice(sorted(found))
            inner = [self._inner(problem)[1] for problem in like if self.part(problem.statement) == name]
        else:
            able = [name for name, domain in self._domains.items() if domain.has_generator]
            name, inner = rng.choice(able), []
        made = self._domains[name].generate(rng, like=inner, size=size)
        return replace(made, id="", domain=self.name, statement=f"{name}{SEPARATOR}{made.statement}")

    def _inner(self, problem: Problem) -> tuple[Domain, Problem]:
        domain, inner = self.domain_of(problem.statement)
        return domain, replace(problem, domain=domain.name, statement=inner)

    def _move(self, domain: Domain, move: str) -> str:
        """Return the move of a domain that this one stands for: with fewer of them, some come twice."""
        return domain.moves[self.moves.index(move) % len(domain.moves)]


class MemberRows(Mixture):
    """The mixture for rows that name one of its domains in a field, and so need not in the statement."""

    def __init__(self, name: str, member: str) -> None:
        super().__init__(name)
        self._member = member
        self.takes_references = self._domains[member].takes_references

    def problem(self, row: Mapping[str, Any]) -> Problem:
        """Return the problem of a row of that domain."""
        return super().problem({**row, "statement": f"{self._member}{SEPARATOR}{row['statement']}"})


def domain_of_rows(name: str, *, line_domain: str) -> Domain:
    """Return the domain that reads the rows of a line which name `name`: the line's own, or as one of its mixture.

    Raises:
        UnknownDomainError: there is no such domain, or it is not the line's.
    """
    if name == line_domain:
        return load_domain(name)
    find_domain(name)
    if name not in members_of(line_domain):
        raise UnknownDomainError(f"domain {name!r} is not that of the line, {line_domain!r}")
    return Domain(MemberRows(line_domain, name))


def in_mixture(problem: Problem, *, line_domain: str) -> Problem:
    """Return a problem of a member as one of the mixture."""
    if problem.domain not in members_of(line_domain):
        raise BadInputError(f"{problem.id} is of domain {problem.domain}, which is not in {line_domain}")
    return replace(problem, domain=line_domain, statement=f"{problem.domain}{SEPARATOR}{problem.statement}")
