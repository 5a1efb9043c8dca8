"""`bench.bad_nights` in a tiny form: its counts, its faults, and the guards that refuse a candidate; the real one takes 40 minutes."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from bench.bad_nights import __main__ as command
from bench.bad_nights.damages import BAD, HARMLESS, damage
from bench.bad_nights.provenance import exchange_base, refusal, write_other_base
from bench.bad_nights.truth import judge_truth
from bench.bad_nights.workshop import GOOD, PARENT, Scale, Workshop
from everlearn.gate.decision_record import Against, Outcome
from everlearn.training.models.policy import load_policy

if TYPE_CHECKING:
    from collections.abc import Iterator

COURSE = {"v0001": ((3, 4, 5), 2), PARENT: ((4, 5, 6), 3), GOOD: ((6, 7, 8), 4)}
SIZES = {"target": 4, "skill": 2, "blocks": 1, "block_target": 4, "block_skill": 2, "hard": 3}
TINY = Scale(**SIZES, prompts=2, damage_prompts=2, probes=1, course=COURSE)


@pytest.fixture(scope="module")
def shop() -> Iterator[Workshop]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        yield Workshop(0, folder=Path(folder), scale=TINY)


def row(kind: str, outcome: str, truth: str, *, number: int = 0, **more: Any) -> dict[str, Any]:
    plain = {"kind": kind, "number": number, "outcome": outcome, "measured": outcome, "refused_by": None}
    return {**plain, "truth": truth, "true_target_gain": 0.1, "cpu_seconds": 6.0, **more}


ROWS = [
    row("scaled", "PASS", "bad"),
    row("scaled", "FAIL", "bad", number=1),
    row("scaled", "PASS", "unclear", number=2),
    row("doubled", "PASS", "not bad"),
    row("other base", "REFUSED", "not bad", refused_by="the registry"),
    row("skill destroyed", "FAIL", "bad", measured="PASS"),
    row("tiny noise", "PASS", "not bad"),
    row("tiny noise", "FAIL", "unclear", number=1),
    row("tiny noise", "FAIL", "bad", number=2),
]


def test_bad_is_what_truly_is_or_must_not_come_from_there() -> None:
    found = command.summarize(ROWS)
    assert (found["bad"], found["bad_passed"], found["bad_refused_before_gate"]) == (4, 1, 1)
    assert (found["damaged_but_not_bad"], found["damaged_and_unclear"], found["not_bad_or_unclear_passed"]) == (1, 1, 2)
    assert (found["skill_destroyed"], found["skill_destroyed_target_improved"]) == (1, 1)
    assert found["bad_passed_without_checks"] == 2


def test_a_harmless_kind_that_did_harm_is_not_counted() -> None:
    found = command.summarize(ROWS)
    assert (found["harmless"], found["harmless_failed"], found["harmless_passed"]) == (2, 0.5, 0.5)
    assert found["margin"] == {"skill_loss": 0.06, "target_gain": 0.02, "confidence": 0.95}
    assert command.summarize([])["bad_passed_share"] == {"low": 0.0, "high": 1.0}


@pytest.mark.parametrize(
    ("target", "skill", "truth"),
    [
        ("1" * 60, "1" * 60, "not bad"),
        ("1" * 60, "0" * 60, "bad"),
        ("0" * 30 + "1" * 30, "1" * 60, "unclear"),
        ("0" * 60, "1" * 60, "bad"),
    ],
)
def test_the_truth_is_measured_against_the_margin(target: str, skill: str, truth: str) -> None:
    before = [{"target": "0" * 32 + "1" * 28, "skill": "1" * 60}]
    found = judge_truth(lambda _: {"target": target, "skill": skill}, before, margin=0.06, gain=0.02)
    assert found["truth"] == truth


def test_the_truth_takes_no_more_blocks_than_are_needed() -> None:
    before = [{"target": "0" * 30, "skill": "1" * 30}] * 4
    answered: list[int] = []

    def measure(block: int) -> dict[str, str]:
        answered.append(block)
        return {"target": "0" * 30, "skill": "0" * 30}

    assert judge_truth(measure, before, margin=0.06, gain=0.02)["true_items"] == {"target": 30, "skill": 30}
    assert answered == [0]


def test_a_candidate_is_compared_with_parent_base_and_best_version(shop: Workshop) -> None:
    rows = shop.decide(shop.before[PARENT]).all_rows
    assert {(each.suite, each.against) for each in rows} >= {
        ("target", Against.PARENT),
        ("target", Against.BASE),
        ("skill", Against.PARENT),
        ("skill", Against.BASE),
        ("skill", Against.BEST),
    }


def test_the_adapters_of_a_line_are_made_once(shop: Workshop) -> None:
    again = Workshop(0, folder=shop.folder.parent, scale=TINY)
    for name in TINY.course:
        pairs = zip(shop.adapters[name].values(), again.adapters[name].values(), strict=True)
        assert all(torch.equal(one[1], other[1]) for one, other in pairs)


@pytest.mark.parametrize("kind", sorted({*BAD, *HARMLESS} - {"truncated training"}))
def test_each_kind_changes_the_adapter(shop: Workshop, kind: str) -> None:
    """A GRPO step without a wrong answer changes nothing, and on sums this short there may be none: other numbers sample others."""
    start = shop.adapters[PARENT if kind in {"slow decline", "leaked items"} else GOOD]

    def is_changed(number: int) -> bool:
        damage(shop, kind, number, strength=1)
        return any(not torch.equal(b, start[name][1]) for name, (_, b) in shop.copy().items())

    assert any(is_changed(number) for number in range(20))


@pytest.mark.parametrize(("kind", "outcome"), [("other base", "REFUSED"), ("truncated training", "FAIL")])
def test_a_candidate_is_made_and_judged(shop: Workshop, kind: str, outcome: str) -> None:
    found = command.candidate(shop, kind, 0)
    assert found["outcome"] == outcome
    assert found["gate"] in set(map(str, Outcome))


@pytest.mark.parametrize("way", range(3))
def test_leaked_items_are_refused_in_each_way(shop: Workshop, way: int) -> None:
    damage(shop, "leaked items", 5 * way, strength=1)
    said = refusal(shop, "leaked items", 0, way=way)
    assert said is not None
    assert ("data.holdout", "ladder.tree", "everlearn leaks --bar")[way] in said


def test_another_base_is_refused_before_the_night_and_during_it(shop: Workshop) -> None:
    opened, begun, alone = (refusal(shop, "other base", 3, way=way) for way in range(3))
    assert "belongs to another base model" in str(opened)
    assert "are not those that the night was opened with" in str(begun)
    assert alone is None


def test_the_other_base_with_its_adapter_answers_as_the_line_does(shop: Workshop, tmp_path: Path) -> None:
    shop.put(GOOD)
    expected = [group.answers for group in shop.answered(shop.suites["skill"])]
    exchange_base(shop, 3)
    adapter = shop.bench.policy.save(tmp_path / "adapter")
    ours, other = shop.bench.policy, write_other_base(shop, 3, to=tmp_path / "base")
    shop.bench.policy = load_policy(other, adapter)
    try:
        assert [group.answers for group in shop.answered(shop.suites["skill"])] == expected
    finally:
        shop.bench.policy = ours


def test_false_rewards_are_found(shop: Workshop) -> None:
    damage(shop, "loose verifier", 0, strength=1)
    assert [each.name for each in shop.checks() if not each.passed].count("rewards are true") == 1


def test_a_stopped_run_continues_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, int]] = []

    def judged(_: object, kind: str, number: int) -> dict[str, Any]:
        asked.append((kind, number))
        return row(kind, str(Outcome.FAIL), "bad", number=number)

    monkeypatch.setattr(command, "Workshop", lambda *_, **__: None if asked else object())
    monkeypatch.setattr(command, "candidate", judged)
    arguments = ["--bad", "1", "--harmless", "1", "--out", str(tmp_path / "rows.json")]
    (tmp_path / "rows.json").write_text(json.dumps({"rows": [row("scaled", "FAIL", "bad")]}))
    command.main(arguments)
    assert len(asked) == len(BAD) + len(HARMLESS) - 1
    assert "| scaled | 1 | 1 | 0 | 0 | 0 | 1 | 0 | 0 |" in capsys.readouterr().out
    command.main([*arguments, "--json"])
    assert len(asked) == len(BAD) + len(HARMLESS) - 1
    assert json.loads(capsys.readouterr().out)["bad"] == len(BAD)
    assert {"revision", "machine", "command"} <= json.loads((tmp_path / "rows.json").read_text())["rows"][-1].keys()


def test_a_piece_stops_when_its_cpu_time_is_used_up(tmp_path: Path) -> None:
    assert list(command.run([], bad=1, harmless=1, folder=tmp_path, seconds=0.0)) == []
