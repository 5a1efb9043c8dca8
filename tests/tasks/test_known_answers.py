"""What a policy was asked in an earlier night is not asked again, unless anything that its answers depend on has changed."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest

from everlearn import counters
from everlearn.cycle.record import End
from everlearn.problem import Measurement, Ruling, Verdict
from everlearn.registry.connect import open_registry
from everlearn.registry.events import EventKind
from everlearn.settings import RolloutSettings
from everlearn.training.models.policy import load_policy
from tasks.freeze_suites import load_suites
from tasks.known_answers import keep_answers, known_answers
from tasks.measure import CANDIDATE, measure_suites, measured
from tasks.open_night import end_night
from tests.support.adapters import shake
from tests.support.line import candidate
from tests.support.night import LONG, SHORT, opened

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from everlearn.settings import Settings
    from tasks.night import Night


def measuring(night: Night, policy: str) -> int:
    """Measure a policy on all suites, and return how many answers were decoded for it."""
    before = counters.snapshot()["rollouts"]
    measure_suites.fn(night, policy)
    return counters.snapshot()["rollouts"] - before


def end(night: Night) -> None:
    night.registry.record(EventKind.INSUFFICIENT, cycle_key=night.key, reason="r", actor="night", detail={})
    end_night(night, End.INSUFFICIENT)


def items_of(night: Night) -> int:
    return sum(len(suite.problems) for suite in load_suites(night))


def with_settings(settings: Settings, **sections: Mapping[str, Any]) -> Settings:
    return settings.model_copy(
        update={name: getattr(settings, name).model_copy(update=dict(new)) for name, new in sections.items()}
    )


def test_the_base_answers_only_the_items_that_are_new(settings: Settings) -> None:
    first = opened(settings, *LONG[:12])
    assert measuring(first, "base") == items_of(first)
    end(first)
    second = opened(settings, *LONG[12:])
    asked = measuring(second, "base")
    assert asked == items_of(second) - len(SHORT)
    assert measured(second, "base")["short"] == measured(first, "base")["short"]
    assert [row.item for row in measured(second, "base")["target"]] == [
        item.id for suite in load_suites(second) if suite.name == "target" for item in suite.problems
    ]


def test_what_a_candidate_answered_is_known_of_the_version_that_it_becomes(settings: Settings, tmp_path: Path) -> None:
    registry = open_registry(settings)
    first = opened(settings, *LONG[:12])
    shake(load_policy(settings.base_directory, rank=2, alpha=4), seed=1, size=0.02).save(tmp_path / "adapter")
    files = {path.name: registry.put_file(path) for path in (tmp_path / "adapter").iterdir()}
    first.work.put("files", json.dumps({name: asdict(ref) for name, ref in files.items()}).encode())
    assert measuring(first, CANDIDATE) == items_of(first)
    made = replace(candidate(registry, "one", base=first.inputs.base_fingerprint), cycle_key=first.key, files=files)
    registry.publish(made, make_champion=True, actor="night", reason="better")
    end_night(first, End.INSUFFICIENT)
    second = opened(settings, *LONG[12:])
    assert second.inputs.parent == "v0001"
    assert measuring(second, "parent") == items_of(second) - len(SHORT)
    assert measuring(second, "base") == items_of(second), "another policy"


@pytest.mark.parametrize(
    "sections", [{"learn": {"seed": 8}}, {"format": {"system": "Answer."}}, {"compute": {"policy": "hub"}}]
)
def test_another_way_of_asking_is_asked_anew(settings: Settings, sections: dict[str, dict[str, Any]]) -> None:
    first = opened(settings, *LONG[:12])
    measuring(first, "base")
    end(first)
    second = opened(with_settings(settings, **sections), *LONG[12:])
    assert measuring(second, "base") == items_of(second)


def test_other_code_measures_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(settings, *LONG[:12])
    measuring(first, "base")
    end(first)
    monkeypatch.setattr("tasks.known_answers.CODE", "of another release")
    second = opened(settings, *LONG[12:])
    assert measuring(second, "base") == items_of(second)


def test_another_machine_or_a_vllm_server_measures_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(settings, *LONG[:12])
    here = known_answers(first, {}, {"integration"})
    with monkeypatch.context() as patched:
        patched.setattr("everlearn.training.gpu.card_of", lambda _: "NVIDIA H200")
        assert known_answers(first, {}, {"integration"}).name != here.name
    measuring(first, "base")
    end(first)
    second = opened(settings, *LONG[12:])
    assert known_answers(second, {}, {"integration"}).found
    served = second.settings.model_copy(update={"rollouts": RolloutSettings.model_validate({"engine": "vllm"})})
    assert not known_answers(replace(second, settings=served), {}, {"integration"}).found


def test_an_undecided_answer_is_not_kept(settings: Settings) -> None:
    first = opened(settings, *LONG[:12])
    suite = next(each for each in load_suites(first) if each.name == "short")
    rulings = [Ruling.UNDECIDED, *[Ruling.WRONG] * (len(suite.problems) - 1)]
    rows = {
        item: Measurement(item="", root="", verdict=Verdict(ruling=ruling, reason="r"), answer="x")
        for item, ruling in zip(suite.problems, rulings, strict=True)
    }
    known = known_answers(first, {}, {"integration"})
    keep_answers(first, known.plus(rows), suite.problems)
    end(first)
    found = known_answers(opened(settings, *LONG[12:]), {}, {"integration"})
    assert found.without(suite).problems == suite.problems[:1]
    assert found.of(suite.problems[1]).item == suite.problems[1].id
