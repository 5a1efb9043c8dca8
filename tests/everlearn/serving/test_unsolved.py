"""Problems that an endpoint did not solve: which are collected, how many, and that none is lost on the way to the night."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.data import rows
from everlearn.domains.contract import load_domain
from everlearn.domains.mixture import domain_of_rows
from everlearn.errors import BadInputError, StoreDownError
from everlearn.serving.unsolved import HOUR, SHARD_ROWS, SHARD_SECONDS, UnsolvedProblems, collecting_alone
from everlearn.storage.in_memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from everlearn.problem import Problem, Verdict

DOMAIN = load_domain("integration")
LINE = "integration"


class Seconds:
    """A clock in seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def collection(store: MemoryStore, folder: Path, clock: Seconds, *, per_hour: int = 1000) -> UnsolvedProblems:
    waiting = folder / "serving" / "line.jsonl"
    return UnsolvedProblems(store, LINE, domain=DOMAIN, judge=judge, waiting=waiting, per_hour=per_hour, clock=clock)


def judge(pairs: Sequence[tuple[Problem, str]]) -> list[Verdict]:
    return [DOMAIN.verify(problem, answer) for problem, answer in pairs]


@contextlib.contextmanager
def away(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the store take nothing during the block."""

    def down(*_: object) -> None:
        raise StoreDownError("away")

    with monkeypatch.context() as patched:
        patched.setattr(store, "create", down)
        yield


def shards(store: MemoryStore) -> list[list[str]]:
    """Return the statements in each shard of the inbox."""
    data = [store.get(each.key).data for each in store.list(f"{LINE}/inbox/")]
    return [[json.loads(line)["problem"] for line in shard.splitlines()] for shard in data]


def test_only_what_the_verifier_refuses_is_collected(store: MemoryStore, tmp_path: Path, clock: Seconds) -> None:
    unsolved = collection(store, tmp_path, clock)
    problem = DOMAIN.problem("2*x")
    assert unsolved.judge(problem, ["x", "x^2"], caller="a") == "no: solved"
    assert unsolved.judge(problem, ["x^2/0"], caller="a") in {"no: undecided", "yes"}
    assert unsolved.judge(DOMAIN.problem("3*x"), ["", "x"], caller="a") == "yes"
    assert unsolved.judge(DOMAIN.problem("x*3"), [""], caller="a") == "no: known", "the same problem in other words"


def test_answers_that_need_a_reference_are_not_judged(store: MemoryStore, tmp_path: Path, clock: Seconds) -> None:
    numbers = load_domain("numbers")
    unsolved = UnsolvedProblems(
        store, LINE, domain=numbers, judge=judge, waiting=tmp_path / "w", per_hour=9, clock=clock
    )
    assert (
        unsolved.judge(numbers.problem("What is 2 + 2?"), ["4"], caller="a") == "no: answers are judged by a reference"
    )


def test_in_a_mixture_each_problem_is_judged_as_its_domain_does(
    store: MemoryStore, tmp_path: Path, clock: Seconds
) -> None:
    both = load_domain("arithmetic+numbers")
    unsolved = UnsolvedProblems(
        store,
        LINE,
        domain=both,
        judge=lambda pairs: [both.verify(*pair) for pair in pairs],
        waiting=tmp_path / "w",
        per_hour=9,
        clock=clock,
    )
    said = {
        text: unsolved.judge(both.problem(text), ["5"], caller="a")
        for text in ("numbers: What is 2 + 2?", "arithmetic: 2 + 2", "arithmetic: 2 + 3")
    }
    assert list(said.values()) == ["no: answers are judged by a reference", "yes", "no: solved"]
    unsolved.flush()
    [shard] = store.list(f"{LINE}/inbox/")
    (tmp_path / "shard.jsonl").write_bytes(store.get(shard.key).data)
    load = partial(domain_of_rows, line_domain=both.name)
    [row] = rows.read(tmp_path / "shard.jsonl", domain=both.name, load=load, check=rows.ask_in_words).rows
    assert (row.fault, row.statement) == (None, "arithmetic: 2 + 2")


def test_what_a_night_would_refuse_is_not_collected(store: MemoryStore, tmp_path: Path, clock: Seconds) -> None:
    unsolved, numbers = collection(store, tmp_path, clock, per_hour=1), load_domain("numbers")
    assert unsolved.add(numbers.problem("7" * 4001), caller="a") == "no: longer than 4000 characters"
    assert unsolved.add(numbers.problem("7" * 4000), caller="a") == "yes"


def test_a_second_process_does_not_collect_into_the_same_file(tmp_path: Path) -> None:
    waiting = tmp_path / "serving" / "line.jsonl"
    with collecting_alone(waiting):
        with pytest.raises(BadInputError, match=r"collects into .*line\.jsonl: stop it"), collecting_alone(waiting):
            pytest.fail("two collect")
        with collecting_alone(tmp_path / "serving" / "other.jsonl"):
            pass
    with collecting_alone(waiting):
        pass


def test_a_caller_has_a_number_an_hour_of_his_own(store: MemoryStore, tmp_path: Path, clock: Seconds) -> None:
    unsolved = collection(store, tmp_path, clock, per_hour=2)
    added = [unsolved.add(DOMAIN.problem(f"x^{n}"), caller="a") for n in range(2, 5)]
    assert added == ["yes", "yes", "no: more than 2 an hour"]
    assert unsolved.add(DOMAIN.problem("x^4"), caller="b") == "yes"
    clock.now = HOUR
    assert unsolved.add(DOMAIN.problem("x^5"), caller="a") == "yes"


def test_rows_become_one_shard_after_some_time_or_at_some_number(
    store: MemoryStore, tmp_path: Path, clock: Seconds
) -> None:
    unsolved = collection(store, tmp_path, clock)
    unsolved.flush_if_due()
    assert not shards(store)
    for n in range(2, 5):
        unsolved.add(DOMAIN.problem(f"x^{n}"), caller="a")
    unsolved.flush_if_due()
    assert not shards(store), "not old enough"
    clock.now = SHARD_SECONDS
    unsolved.flush_if_due()
    assert shards(store) == [["x^2", "x^3", "x^4"]]
    for n in range(SHARD_ROWS):
        unsolved.add(DOMAIN.problem(f"{n + 2}*sin(x) + x^{n % 7}"), caller="a")
    unsolved.flush_if_due()
    assert len(shards(store)) == 2


def test_what_waits_survives_the_process_and_a_store_that_is_down(
    store: MemoryStore, tmp_path: Path, clock: Seconds, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection(store, tmp_path, clock).add(DOMAIN.problem("x^2"), caller="a")
    again = collection(store, tmp_path, clock)

    with away(store, monkeypatch), pytest.raises(StoreDownError):
        again.flush()
    again.flush()
    again.flush()
    assert shards(store) == [["x^2"]]


def test_a_row_that_a_crash_has_cut_takes_no_other_with_it(store: MemoryStore, tmp_path: Path, clock: Seconds) -> None:
    collection(store, tmp_path, clock).add(DOMAIN.problem("x^2"), caller="a")
    with (tmp_path / "serving" / "line.jsonl").open("a") as waiting:
        waiting.write('{"problem": "x^')
    again = collection(store, tmp_path, clock)
    again.add(DOMAIN.problem("x^3"), caller="a")
    again.flush()
    assert shards(store) == [["x^2", "x^3"]]


def test_a_row_that_a_full_disk_has_cut_takes_no_other_with_it(
    store: MemoryStore, tmp_path: Path, clock: Seconds
) -> None:
    unsolved, waiting = collection(store, tmp_path, clock), tmp_path / "serving" / "line.jsonl"
    unsolved.add(DOMAIN.problem("x^2"), caller="a")
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (waiting.stat().st_size + 10, limits[1]))
        with pytest.raises(OSError, match="File too large"):
            unsolved.add(DOMAIN.problem("x^3"), caller="a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert unsolved.add(DOMAIN.problem("x^3"), caller="a") == "yes"
    unsolved.flush()
    assert shards(store) == [["x^2", "x^3"]]


def test_rows_are_collected_while_a_shard_is_on_its_way(
    store: MemoryStore, tmp_path: Path, clock: Seconds, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsolved = collection(store, tmp_path, clock)
    create = store.create

    def slowly(*arguments: Any, **options: Any) -> Any:
        unsolved.add(DOMAIN.problem("x^3"), caller="a")
        return create(*arguments, **options)

    monkeypatch.setattr(store, "create", slowly)
    unsolved.add(DOMAIN.problem("x^2"), caller="a")
    unsolved.flush()
    assert sorted(shards(store)) == [["x^2"], ["x^3"]]


def test_a_shard_that_the_store_did_not_take_goes_first(
    store: MemoryStore, tmp_path: Path, clock: Seconds, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsolved = collection(store, tmp_path, clock)
    unsolved.add(DOMAIN.problem("x^2"), caller="a")
    clock.now += SHARD_SECONDS

    with away(store, monkeypatch), pytest.raises(StoreDownError):
        unsolved.flush_if_due()
    unsolved.flush_if_due()
    assert shards(store) == [["x^2"]], "at once, and not after another minute"


def test_a_shard_is_read_by_a_night_like_any_other(store: MemoryStore, tmp_path: Path, clock: Seconds) -> None:
    unsolved = collection(store, tmp_path, clock)
    unsolved.add(DOMAIN.problem("2*x + cos(x)"), caller="a")
    unsolved.flush()
    [shard] = store.list(f"{LINE}/inbox/")
    (tmp_path / "shard.jsonl").write_bytes(store.get(shard.key).data)
    [row] = rows.read(tmp_path / "shard.jsonl", domain="integration", load=load_domain, check=rows.ask_in_words).rows
    assert row.fault is None
    assert row.statement == "2*x + cos(x)"
