"""The memory of a line: a bounded reservoir of held-out problems, stratified by night."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.data.memory_suite import MOST_SUITES, remember, split_memory
from everlearn.data.suites import SuiteKind, parse
from everlearn.domains.contract import load_domain
from everlearn.problem import Problem

DOMAIN = load_domain("integration")


def key(night: int) -> str:
    return f"{night:02x}" * 32


def problems(night: int, count: int) -> list[Problem]:
    """Return problems of which no two are equivalent, also not to those of another night."""
    texts = [f"x^{night + 2}*sin({number + 1}*x)" for number in range(count)]
    return [Problem(id=f"a/{number}", domain="integration", statement=text) for number, text in enumerate(texts)]


def after(nights: list[int], *, per_night: int = 20, total: int = 50) -> tuple[Problem, ...]:
    """Return the memory after nights that held out that many problems."""
    memory: tuple[Problem, ...] = ()
    for night, count in enumerate(nights):
        made = remember(
            memory, problems(night, count), cycle_key=key(night), domain=DOMAIN, per_night=per_night, total=total
        )
        memory = made.problems if made else ()
    return memory


def counts(memory: tuple[Problem, ...]) -> Counter[str]:
    return Counter(item.id.partition("/")[0] for item in memory)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=9), st.integers(1, 40))
def test_every_night_keeps_an_equal_share_of_a_bounded_list(nights: list[int], total: int) -> None:
    memory = after(nights, total=total)
    kept = counts(memory)
    assert len(memory) <= total
    full = [count for night, count in kept.items() if count < min(20, nights[int(night[:2], 16)])]
    assert all(abs(count - max(kept.values())) <= 1 for count in full), "a night has less only where it had no more"


@settings(max_examples=25)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=9))
def test_a_problem_that_has_left_never_returns(nights: list[int]) -> None:
    first, later = ({item.id for item in after(nights[:number])} for number in (len(nights) - 1, len(nights)))
    last = key(len(nights) - 1)[:12]
    assert {identity for identity in later if not identity.startswith(last)} <= first


def test_the_choice_depends_on_nothing_but_the_problems() -> None:
    forwards, backwards = (
        remember((), order, cycle_key=key(1), domain=DOMAIN, per_night=5, total=50)
        for order in (problems(0, 20), problems(0, 20)[::-1])
    )
    assert forwards == backwards
    assert forwards is not None
    assert forwards.kind is SuiteKind.MEMORY
    assert Counter(counts(forwards.problems).values()) == {5: 1}


def test_a_problem_is_remembered_once() -> None:
    memory = after([5])
    again = [Problem(id="again", domain="integration", statement=f"3*({memory[0].statement})")]
    made = remember(memory, again, cycle_key=key(7), domain=DOMAIN, per_night=5, total=50)
    assert made is not None
    assert made.problems == memory


def test_without_problems_there_is_no_memory() -> None:
    assert remember((), [], cycle_key=key(0), domain=DOMAIN, per_night=5, total=50) is None
    assert remember((), problems(0, 3), cycle_key=key(0), domain=DOMAIN, per_night=5, total=0) is None


def test_each_night_is_measured_by_itself() -> None:
    first, second = split_memory(after([5, 3]), versions={key(0): "v0004"})
    assert (first.name, len(first.problems)) == ("memory-v0004", 5)
    assert (second.name, len(second.problems)) == (f"memory-{key(1)[:12]}", 3)
    assert split_memory((), versions={}) == ()


def test_the_oldest_of_many_nights_share_a_suite() -> None:
    memory = after([3] * (MOST_SUITES + 2))
    made = split_memory(memory, versions={key(night): f"v{night:04d}" for night in range(40)})
    assert [suite.name for suite in made] == ["memory-older", *(f"memory-v{night:04d}" for night in range(3, 14))]
    assert len(made) == MOST_SUITES
    assert [item for suite in made for item in suite.problems] == list(memory)


def test_a_memory_list_is_read_back_from_its_file() -> None:
    made = remember((), problems(0, 3), cycle_key=key(0), domain=DOMAIN, per_night=5, total=50)
    assert made is not None
    assert parse(made.to_jsonl(), name="x", where="x") == made
