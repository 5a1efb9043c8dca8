"""A plug-in of four members is a whole domain, and no reference leaves it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.domains.contract import Domain, load_domain
from everlearn.domains.hidden_reference import MASK, hide_reference, reference_in
from everlearn.domains.plugin import ExactProof
from everlearn.domains.pool import VerifierPool
from everlearn.errors import BadInputError, GrammarError
from everlearn.problem import Problem, Ruling, Verdict
from tests.support.plugins import install_passwords

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SECRET = "hunter2"  # as people choose them


class Capitals:
    """Four members, and a verifier without a seed."""

    name = "capitals"

    def problem(self, row: Mapping[str, Any]) -> Problem:
        if not row["statement"].isalpha():
            raise GrammarError("a country is a word")
        return Problem(id="", domain="", statement=row["statement"], reference=row.get("reference"))

    def question(self, problem: Problem) -> str:
        return f"What is the capital of {problem.statement}? {problem.reference}"

    def verify(self, problem: Problem, answer: str) -> Verdict:
        if problem.statement == "Atlantis":
            raise GrammarError(f"{problem.reference} has sunk")
        ruling = Ruling.CORRECT if answer == problem.reference else Ruling.WRONG
        return Verdict(ruling=ruling, reason=f"it is {problem.reference}")


class Complete(Capitals):
    """Every member of its own."""

    equivalence_scheme = "capitals/7"
    takes_references = True
    moves = ("shorten",)

    def canonical(self, statement: str) -> str:
        return statement.lower()

    def equivalence(self, statement: str) -> str:
        return statement[0]

    def size(self, statement: str) -> int:
        return len(statement)

    def difficulty(self, statement: str) -> str:
        return f"{len(statement)} letters"

    def skill(self, statement: str) -> str:
        return statement[-1]

    def extract(self, completion: str) -> str:
        return completion.split(maxsplit=1)[0]

    def recheck(self, problem: Problem, answer: str) -> Verdict:
        return self.verify(problem, answer)

    def prove(self, problem: Problem, answer: str) -> ExactProof:
        return ExactProof(proved=answer == problem.reference)

    def generate(self, rng: random.Random, *, like: object = (), size: int = 1) -> Problem:
        return self.problem({"statement": "A" * size})

    def propose(self, statement: str, move: str) -> str:
        return f"{move} {statement}"

    def read_variant(self, statement: str, move: str, text: str) -> str | None:
        return text if len(text) < len(statement) else None

    def ease(self, statement: str, move: str, *, rng: random.Random) -> str | None:
        return statement[1:]


SMALL, WHOLE = Domain(Capitals()), Domain(Complete())
FRANCE = SMALL.problem({"statement": "France", "reference": SECRET})


def test_four_members_are_a_whole_domain() -> None:
    assert SMALL.problem("France").id == SMALL.problem("France").id != SMALL.problem("Spain").id
    assert SMALL.problem({"statement": "France", "id": 7}).id == "7"
    assert (FRANCE.domain, FRANCE.reference) == ("capitals", SECRET)
    assert SMALL.verify(FRANCE, SECRET, seed=3).is_correct
    assert SMALL.extract("It is easy.\nAnswer: Paris\n") == "Paris"
    assert SMALL.canonical(" a   b ") == SMALL.equivalence("a b") == "a b"
    assert SMALL.equivalence_scheme == "capitals/1"
    assert (SMALL.size("France"), SMALL.difficulty("France"), SMALL.skill("France")) == (1, "size 1", "capitals")
    assert SMALL.recheck(FRANCE, SECRET).ruling is Ruling.UNDECIDED
    assert not SMALL.prove(FRANCE, SECRET).proved
    assert SMALL.generate(random.Random(0), like=[FRANCE]) is FRANCE
    assert SMALL.moves == ("easier",)
    assert SMALL.model_proposes
    assert "What is the capital of France?" in SMALL.propose("France", "easier")
    assert SMALL.read_variant("France", "easier", "I suggest:\nMalta") == "Malta"
    assert SMALL.read_variant("France", "easier", "no idea!") is None
    assert SMALL.ease("France", "easier", rng=random.Random(0)) is None
    assert SMALL.solve(FRANCE) is None, "of a domain that takes no answers as references, the reference may be anything"
    assert (SMALL.same_answers(FRANCE, SECRET), SMALL.libraries) == ([], ())
    assert SMALL.wrong_answers(FRANCE, SECRET, rng=random.Random(0)) == []
    assert SMALL.parts == (SMALL.part("France"),) == ("capitals",)


def test_own_members_are_used_where_there_are_any() -> None:
    rng = random.Random(0)
    assert WHOLE.canonical("France") == "france"
    assert (WHOLE.equivalence("France"), WHOLE.equivalence_scheme) == ("F", "capitals/7")
    assert (WHOLE.size("France"), WHOLE.difficulty("France"), WHOLE.skill("France")) == (6, "6 letters", "e")
    assert WHOLE.extract("Paris it is") == "Paris"
    assert WHOLE.recheck(FRANCE, SECRET).is_correct
    assert WHOLE.solve(FRANCE) == SECRET
    assert WHOLE.prove(FRANCE, SECRET).proved
    assert WHOLE.generate(rng, size=3) == WHOLE.problem("AAA")
    assert WHOLE.moves == ("shorten",)
    assert WHOLE.propose("France", "shorten") == "shorten France"
    assert (WHOLE.read_variant("France", "shorten", "Mali"), WHOLE.ease("Mali", "shorten", rng=rng)) == ("Mali", "ali")


def test_a_problem_that_is_no_sum_is_one_term() -> None:
    assert not SMALL.has_terms
    assert (SMALL.split("a b"), SMALL.join(["a", "b"])) == (["a b"], "a b")


def test_a_domain_says_what_it_can() -> None:
    for domain, own in ((SMALL, False), (WHOLE, True)):
        abilities = (domain.has_generator, domain.has_recheck, domain.has_moves, domain.has_proofs)
        assert abilities == (own,) * 4
        assert domain.takes_references is own


def test_a_plugin_without_a_member_is_refused_by_its_name() -> None:
    with pytest.raises(BadInputError, match="object has no 'name' and no 'problem' and no 'question' and no 'verify'"):
        Domain(object())  # type: ignore[arg-type]


def test_nothing_is_generated_from_nothing() -> None:
    with pytest.raises(BadInputError, match="capitals has no generator"):
        SMALL.generate(random.Random(0))


def test_a_reference_is_in_no_question_reason_message_or_repr() -> None:
    shown = [SMALL.question(FRANCE), SMALL.verify(FRANCE, "x").reason, WHOLE.recheck(FRANCE, "x").reason, repr(FRANCE)]
    for statement in ("Atlantis",):
        with pytest.raises(GrammarError) as caught:
            SMALL.verify(SMALL.problem({"statement": statement, "reference": SECRET}), "x")
        shown.append(str(caught.value))
    assert SECRET not in " ".join([*shown, FRANCE.key])
    assert shown[1] == f"it is {MASK}"


@given(st.text(min_size=1), st.text(), st.text())
def test_a_masked_text_does_not_hold_the_reference(reference: str, before: str, after: str) -> None:
    hidden = hide_reference(f"{before}{reference}{after}", reference)
    assert not reference.strip() or reference in MASK or reference not in hidden.replace(MASK, "\0")


@given(st.text(max_size=9), st.none() | st.text(max_size=9), st.none() | st.text(max_size=9))
def test_keys_differ_where_the_reference_does(statement: str, one: str | None, other: str | None) -> None:
    keys = [Problem(id="", domain="d", statement=statement, reference=each).key for each in (one, other)]
    assert (keys[0] == keys[1]) is (one == other)
    assert (keys[0] == statement) is (one is None)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, {}),
        ({"reference": None}, {}),
        ({"reference": "  "}, {}),
        ({"reference": 42}, {"reference": "42"}),
        ({"reference": ["assert f(1)"]}, {"reference": '["assert f(1)"]'}),
        ({"reference": "Paris"}, {"reference": "Paris"}),
    ],
)
def test_a_reference_is_a_text_or_becomes_json(fields: dict[str, object], found: dict[str, str]) -> None:
    assert reference_in(fields) == found


@pytest.mark.parametrize("blank", ["", "  ", None])
def test_a_blank_field_does_not_hide_the_next_one(blank: str | None) -> None:
    assert reference_in({"reference": blank, "answer": 42}, names=("reference", "answer")) == {"reference": "42"}


def test_the_pool_judges_by_references_and_records_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = load_domain(install_passwords(tmp_path, monkeypatch))
    known = domain.problem({"statement": "hint 1", "reference": SECRET})
    pairs = [(known, "even"), (known, "odd"), (domain.problem("hint 1"), "even")]
    with VerifierPool("passwords") as pool:
        verdicts = pool.verify_many(pairs)
        pool._record(pairs[0], seed=0, why="it hung")
    assert [verdict.ruling for verdict in verdicts] == ["CORRECT", "WRONG", "UNDECIDED"]
    assert SECRET not in " ".join([str(pool.recorded), *(verdict.reason for verdict in verdicts)])
    with VerifierPool("passwords", recorded=pool.recorded) as resumed:
        assert resumed.verify(*pairs[0]).reason == "it hung"
