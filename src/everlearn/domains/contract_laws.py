"""Whether a domain does what the contract says, tried on problems of its own or of a file: `everlearn domain check NAME`.

Each check is one law that the ladder, the curriculum, the gate or the reader of rows relies on. A law is broken where one
problem breaks it; the finding names the problem. Passing shows no verifier to be safe from cheating: that is another trial.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from everlearn.domains.hidden_reference import reference_in
from everlearn.domains.verification import text_of
from everlearn.errors import BadInputError, GrammarError
from everlearn.json_lines import parse_object, read_lines
from everlearn.problem import ANSWER_FIELDS, REFERENCE_FIELD, STATEMENT_FIELDS, Ruling, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from everlearn.domains.contract import Domain
    from everlearn.problem import Problem

GENERATED = 20
"""Problems that a domain with a generator is tried on."""
JUDGED_S = 1.0
"""Seconds that a judgement may take: a night asks for tens of thousands."""
GARBAGE = (
    "",
    " ",
    "\x00",
    "I do not know.",
    "(" * 2000,
    "9" * 20_000,
    "nan",
    "1e999999",
    "\u202e1\u200b",
    "\uff11\uff12",
    "__import__('os')",
    "\ud800",
    "<answer></answer>",
)
"""Texts that are no statement and no answer of any domain, or that a careless reader takes for one."""
NEVER_RIGHT = ("", " ", "\x00", "I do not know.", "<answer></answer>")
"""Texts among these that are right for no problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A broken law: its name, and what was seen."""

    law: str
    seen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractSample:
    """A problem, with an answer that is known to be right if there is one."""

    problem: Problem
    answer: str | None = None


def check_domain(domain: Domain, samples: Sequence[ContractSample], *, entry: str | None = None) -> list[Finding]:
    """Return the laws that the domain breaks on these samples, at most one finding a law; `entry` is its entry point's name.

    An exception is a finding too: nothing but GrammarError, for a statement, may leave a domain.
    """
    found = []
    if entry is not None and domain.name != entry:
        found.append(Finding(law="the name is that of the entry point", seen=f"{domain.name!r}, loaded as {entry!r}"))
    for law, check in LAWS.items():
        try:
            seen = next(check(domain, samples), None)
        except Exception as error:  # noqa: BLE001 (whatever leaves a plug-in is what was to be found)
            seen = f"it raises {type(error).__name__}: {error}"
        if seen is not None:
            found.append(Finding(law=law, seen=seen[:300]))
    return found


def samples_of(domain: Domain, *, seed: int = 0) -> list[ContractSample]:
    """Return generated problems of growing size; none for a domain without a generator."""
    if not domain.has_generator:
        return []
    rng = random.Random(seed)
    return [ContractSample(problem=domain.generate(rng, size=1 + number // 4)) for number in range(GENERATED)]


def read_samples(domain: Domain, path: Path) -> list[ContractSample]:
    """Return the problems in a file of rows, with their answers, which are said to be right.

    Raises:
        BadInputError: the file cannot be read, or a line is no problem of the domain; the first such line is named.
    """
    samples = []
    try:
        source = path.open("rb")
    except OSError as error:
        raise BadInputError(f"{path} cannot be read ({error.strerror}): name a file of JSON Lines") from None
    with source:
        for number, line in read_lines(source, name=str(path)):
            try:
                row = parse_object(line)
                fields = {"statement": text_of(row, STATEMENT_FIELDS)}
                problem = domain.problem(fields | reference_in(row, names=domain.reference_fields))
                # An answer is read as a reference is: one that is no text becomes JSON.
                answer = reference_in(row, names=ANSWER_FIELDS).get(REFERENCE_FIELD)
                if answer is not None and domain.takes_references:  # it may be a worked solution
                    answer = domain.extract(answer)
            except (
                BadInputError,
                ValueError,
                TypeError,
            ) as error:  # the last two: of a plug-in that breaks the contract
                raise BadInputError(f"{path}:{number} is no problem of domain {domain.name}: {error}") from None
            samples.append(ContractSample(problem=problem, answer=answer))
    return samples


def _statements_are_read(domain: Domain, samples: Sequence[ContractSample]) -> Iterator[str]:
    for problem in _problems(samples):
        again = domain.problem({"statement": problem.statement, "reference": problem.reference or ""})
        if again.statement != problem.statement:
            yield f"{problem.statement!r} is read as {again.statement!r}"
        try:
            bare = domain.problem(problem.statement)
        except GrammarError as error:
            yield f"{problem.statement!r} is refused without its reference, which a ladder does not have: {error}"
        else:
            if bare.statement != problem.statement:
                yield f"{problem.statement!r} is read as {bare.statement!r} without its reference"


def _other_texts_are_refused(domain: Domain, _: Sequence[ContractSample]) -> Iterator[str]:
    for text in GARBAGE:
        try:
            read = domain.problem(text)
        except GrammarError:
            continue
        except Exception as error:  # noqa: BLE001 (see `check_domain`)
            yield f"{text[:40]!r} raises {type(error).__name__}: {error}, and not GrammarError"
        else:
            if not read.statement.strip():
                yield f"{text[:40]!r} is read as a problem with the statement {read.statement!r}"


def _questions_are_words(domain: Domain, samples: Sequence[ContractSample]) -> Iterator[str]:
    for problem in _problems(samples):
        asked = domain.question(problem)
        if not asked.strip():
            yield f"{problem.statement!r} is asked as {asked!r}"
        if asked != domain.question(problem):
            yield f"{problem.statement!r} is asked in other words each time"


def _every_answer_is_judged(domain: Domain, samples: Sequence[ContractSample]) -> Iterator[str]:
    for problem in _problems(samples):
        for answer in GARBAGE:
            try:
                verdict: object = domain.verify(problem, answer)
            except Exception as error:  # noqa: BLE001 (see `check_domain`)
                yield f"answer {answer[:40]!r} to {problem.statement!r} raises {type(error).__name__}: {error}"
            else:
                if not isinstance(verdict, Verdict):
                    yield f"answer {answer[:40]!r} to {problem.statement!r} gets {verdict!r}, which is no verdict"


def _nothing_is_not_right(domain: Domain, samples: Sequence[ContractSample]) -> Iterator[str]:
    for problem in _problems(samples):
        for answer in NEVER_RIGHT:
            if domain.verify(problem, answer).is_correct:
                yield f"answer {answer!r} to {problem.statement!r} is judged right"


def _the_question_is_no_answer(domain: Domain, samples: Sequence[ContractSample]) -> Iterator[str]:
    for problem in _problems(samples):
        for answer in (problem.statement, domain.question(problem)):
            if not domain.verify(problem, answer).is_correct:
                continue
            if domain.recheck(problem, answer).ruling is not Ruling.CORRECT:
                yield f"{answer!r} is judged right as an answer to itself"


def _verdicts_repeat(domain: Domain, samples: Sequence[ContractSample]) -> Iterator[str]:
    for problem, answer in _answers(samples):
        first, second = domain.verify(problem, answer, seed=1), domain.verify(problem, answer, seed=1)
        if first.ruling is not second.ruling:
            yield f"answer {answer!r} to {problem.statement!r} is {first.ruling}, then {second.ruling}"


def _verdicts_are_fast(domain: Domain, samples: Sequence[ContractSample]) -> Iterator[str]:
    for problem, answer in _answers(samples):
        started = time.perf_counter()
        domain.verify(problem, answer)
        taken = time.perf_counter() - started
        if taken > JUDGED_S:
            yield f"answer {answer[:40]!r} to {problem.statement!r} takes {taken:.1f} s"


def _right_answers_are_right(domain: Domain, samples: Sequence[ContractSample]) -> Iterator[str]:
    for sample in samples:
        if sample.answer is not None:
            verdict = domain.verify(sample.problem, sample.answer)
            if not verdict.is_correct:
                yield f"{sample.answer!r}, given as right for {sample.problem.statement!r}, is {verdict.ruling}: {verdict.reason}"


def _judgements_agree(domain: Domain, samples: Sequence[ContractSample]) -> Iterator[str]:
    for problem, answer in _answers(samples) if domain.has_recheck else ():
        verdict, second = domain.verify(problem, answer), domain.recheck(problem, answer)
        if verdict.is_correct and second.ruling.is_not_right:
            yield f"answer {answer[:40]!r} to {problem.statement!r} is right, and {second.ruling} when judged again"


def _keys_are_stable(domain: Domain, samples: Sequence[ContractSample]) -> Iterator[str]:
    for text in (problem.statement for problem in _problems(samples)):
        for name, key in (("canonical", domain.canonical), ("equivalence", domain.equivalence)):
            if key(text) != key(text):
                yield f"{name} of {text!r} is another one each time"
        if domain.canonical(domain.canonical(text)) != domain.canonical(text):
            yield f"the canonical form of {text!r} has another canonical form"


def _equal_problems_are_equivalent(domain: Domain, samples: Sequence[ContractSample]) -> Iterator[str]:
    for text in (problem.statement for problem in _problems(samples)):
        if domain.equivalence(domain.canonical(text)) != domain.equivalence(text):
            yield f"{text!r} and its canonical form have other equivalence keys"


def _sizes_are_numbers(domain: Domain, samples: Sequence[ContractSample]) -> Iterator[str]:
    for problem in _problems(samples):
        size = domain.size(problem.statement)
        if size < 1 or size != domain.size(problem.statement):
            yield f"the size of {problem.statement!r} is {size}"


def _generated_problems_are_problems(domain: Domain, samples: Sequence[ContractSample]) -> Iterator[str]:
    if not domain.has_generator:
        return
    like = _problems(samples)[:3]
    drawn = [[domain.generate(random.Random(seed), like=like).statement for seed in range(10)] for _ in range(2)]
    if drawn[0] != drawn[1]:
        yield "equal seeds generate other problems"
    if len(set(drawn[0])) == 1:
        yield f"ten seeds generate one problem, {drawn[0][0]!r}"
    for statement in drawn[0]:
        if domain.problem(statement).statement != statement:
            yield f"{statement!r} is generated, and read as {domain.problem(statement).statement!r}"


def _moves_make_easier_problems(domain: Domain, samples: Sequence[ContractSample]) -> Iterator[str]:
    rng = random.Random(0)
    for text in (problem.statement for problem in _problems(samples)) if domain.has_moves else ():
        for move in domain.moves:
            variant = domain.ease(text, move, rng=rng)
            if variant is None:
                continue
            if domain.problem(variant).statement != variant:
                yield f"{move} makes {variant!r} of {text!r}, which is read as {domain.problem(variant).statement!r}"
            if domain.canonical(variant) == domain.canonical(text):
                yield f"{move} makes {text!r} of itself"
            if domain.size(variant) > domain.size(text):
                yield f"{move} makes {variant!r} of {text!r}, which is larger"


def _proposals_are_asked_and_read(domain: Domain, samples: Sequence[ContractSample]) -> Iterator[str]:
    for text in (problem.statement for problem in _problems(samples)):
        for move in domain.moves:
            if not domain.propose(text, move).strip():
                yield f"{move} asks for a variant of {text!r} without a word"
            for written in GARBAGE:
                variant = domain.read_variant(text, move, written)
                if variant is not None and domain.problem(variant).statement != variant:
                    yield f"{written[:40]!r} is read as the variant {variant!r}, which is no statement"


def _problems(samples: Sequence[ContractSample]) -> list[Problem]:
    return [sample.problem for sample in samples]


def _answers(samples: Sequence[ContractSample]) -> Iterator[tuple[Problem, str]]:
    """Yield right answers, and answers of all kinds: statements, texts of no domain, right answers to other problems."""
    known = [sample.answer for sample in samples if sample.answer is not None]
    for place, problem in enumerate(_problems(samples)):
        for answer in dict.fromkeys((*known[place : place + 2], problem.statement, *GARBAGE)):
            yield problem, answer


LAWS: dict[str, Callable[[Domain, Sequence[ContractSample]], Iterator[str]]] = {
    "a statement is read as itself": _statements_are_read,
    "other texts raise GrammarError": _other_texts_are_refused,
    "a question has words, the same each time": _questions_are_words,
    "every answer gets a verdict": _every_answer_is_judged,
    "nothing is not right": _nothing_is_not_right,
    "a question is no answer to itself": _the_question_is_no_answer,
    "right answers are right": _right_answers_are_right,
    "equal seeds give equal verdicts": _verdicts_repeat,
    "a verdict takes less than a second": _verdicts_are_fast,
    "the second judgement does not contradict": _judgements_agree,
    "keys are stable": _keys_are_stable,
    "equal problems are equivalent": _equal_problems_are_equivalent,
    "sizes are numbers from 1": _sizes_are_numbers,
    "generated problems are problems": _generated_problems_are_problems,
    "moves make other problems that are no larger": _moves_make_easier_problems,
    "proposals are asked for and read": _proposals_are_asked_and_read,
}
