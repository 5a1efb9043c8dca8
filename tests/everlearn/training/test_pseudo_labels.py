"""The majority of a group's answers stands for verdicts where only a reference could judge, and is marked."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.domains.contract import load_domain
from everlearn.ladder.tree import references_of
from everlearn.problem import Problem, Ruling, Verdict
from everlearn.settings import FormatSettings, LadderSettings, LearnSettings
from everlearn.training.context_results import read_solved
from everlearn.training.engines.decode import Completion
from everlearn.training.job import PSEUDO, Trained, TrainingJob
from everlearn.training.ladder_growth import plant
from everlearn.training.pseudo_labels import with_pseudo_labels
from everlearn.training.rollouts import Group, Solver
from everlearn.training.trainer import train
from tests.support.chat_models import write_model
from tests.support.plugins import install_passwords
from tests.support.process_group import in_each_process

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from everlearn.domains.contract import Domain
    from everlearn.ladder.tree import CurvePoint

NUMBERS = load_domain("numbers")
VARIANT = "Anna has 3 apples and buys 9 more. How many has she?"


def group_of(*answers: str, domain: Domain = NUMBERS, statement: str = VARIANT) -> Group:
    problem = Problem(id="v", domain=domain.name, statement=statement)
    undecided = [domain.verify(problem, answer) for answer in answers]
    done = [Completion(ids=[1], logprobs=[0.0], finished=True)] * len(answers)
    return Group(problem=problem, prompt=[1], completions=done, answers=list(answers), verdicts=undecided)


def agreed(group: Group, *, share: float = 0.6, variants: Sequence[str] = ("v",), pool: bool = False) -> Any:
    domain = load_domain(group.problem.domain)

    def judge(pairs: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        return [domain.verify(*pair) for pair in pairs]

    unused: Any = None
    solver = Solver(policy=unused, model=unused, form=unused, domain=domain, judge=judge if pool else None)
    [labelled] = with_pseudo_labels([group], solver=solver, variants=variants, share=share)
    assert replace(labelled, agreed=None) == group, "verdicts stay as they are"
    assert (labelled.passed, labelled.rewards) == (group.passed, group.rewards)
    return labelled.agreed


@pytest.mark.parametrize("pool", [False, True])
def test_answers_agree_as_the_domain_compares_them(pool: bool) -> None:  # noqa: FBT001
    group = group_of("12", "12.0", "13", "12 apples", "")
    assert {verdict.ruling for verdict in group.verdicts} <= {Ruling.UNDECIDED, Ruling.UNREADABLE}
    assert agreed(group, pool=pool) == (True, True, False, True, False)
    assert agreed(group, share=0.7, pool=pool) is None, "three of five are too few"


def test_answers_in_whole_sentences_agree_in_a_mixture() -> None:
    mixed = load_domain("numbers+arithmetic")
    group = group_of(
        "3 and 9.\nAnswer: 12", "The answer is 12.", "Answer: 13", domain=mixed, statement=f"numbers: {VARIANT}"
    )
    assert agreed(group) == (True, True, False)


def test_an_update_learns_the_pseudo_label_and_else_the_rewards() -> None:
    group = group_of("12", "13")
    assert replace(group, agreed=(True, False)).learned == [1.0, 0.0]
    assert group.learned == group.rewards == [0.0, 0.0]


@pytest.mark.parametrize(
    "group",
    [
        group_of("12", "13", "14"),
        group_of("", "", ""),
        group_of("two or three", "two or three", "two or three"),
        group_of("405", "405", "405", domain=load_domain("arithmetic"), statement="347 + 58"),
    ],
)
def test_without_a_majority_or_where_a_verifier_can_judge_there_is_no_pseudo_label(group: Group) -> None:
    assert agreed(group) is None


def test_a_domain_without_references_has_no_pseudo_labels() -> None:
    given = group_of("405", "405", domain=load_domain("arithmetic"), statement="347 + 58")
    undecided = Verdict(ruling=Ruling.UNDECIDED, reason="not within the limit of time")
    assert agreed(replace(given, verdicts=[undecided] * 2)) is None


def test_only_variants_have_pseudo_labels() -> None:
    assert agreed(group_of("12", "12"), variants=()) is None


def trained(folder: Path, name: str, share: float | None) -> Trained:
    """Train on one root with a reference and four variants of it, which are judged by nothing."""
    domain = load_domain(name)
    root = domain.problem({"statement": "hint 1", "reference": "hunter2"})
    ladder = plant([root.statement], domain=domain, forbidden=frozenset())
    for number in range(2, 6):
        ladder.add(f"hint {number}", domain=domain, forbidden=frozenset(), parent=ladder.roots()[0], move="easier")
    job = TrainingJob(
        base=write_model(folder / "model"),
        adapter=None,
        ladder=ladder,
        workdir=folder / f"work {share}",
        settings=LearnSettings(steps=2, prompts=5, group=5, rank=2, checkpoint_every=1, pseudo_labels=share),
        ladder_settings=LadderSettings(rollouts=2),
        seed=0,
        threads=1,
        domain=domain.name,
        references=references_of([root], domain=domain),
        form=FormatSettings(name="chat", max_tokens=200),
    )
    job.workdir.mkdir()
    return train(job)


def test_a_training_marks_what_pseudo_labels_reward_and_counts_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = install_passwords(tmp_path, monkeypatch)
    without, with_them = (trained(tmp_path, name, share) for share in (None, 0.51))
    rows = [json.loads(line) for line in with_them.rewarded.read_text().splitlines()]
    marked = [row for row in rows if PSEUDO in row]
    assert marked
    assert {row[PSEUDO] for row in marked} == {"majority"}
    assert "hint 1" not in {row["statement"] for row in marked}, "the root has a reference"
    assert {row["statement"] for row in rows if PSEUDO not in row} <= {"hint 1"}
    assert PSEUDO not in without.rewarded.read_text()
    assert with_them.curve[0].groups_used > without.curve[0].groups_used
    assert with_them.curve[0].reward == without.curve[0].reward, "the share of right answers is that of verdicts"
    assert with_them.curve[0].pass_by_size == without.curve[0].pass_by_size
    assert not any(rung.passed_after for rung in with_them.ladder.rungs.values() if rung.parent)
    solved = read_solved(with_them.rewarded.read_bytes(), domain=load_domain(name))
    assert {answer.problem.statement for answer in solved} <= {"hint 1"}, "none is an example in a prompt"


GUESSES = {"7": 0.6, "8": 0.4}


def job_of(folder: Path, workdir: str) -> TrainingJob:
    """Return a training on six variants of one root, by a model whose groups are mostly mixed."""
    root = NUMBERS.problem({"statement": "Anna has 9 apples and eats one. How many are left?", "reference": "8"})
    ladder = plant([root.statement], domain=NUMBERS, forbidden=frozenset())
    for number in range(2, 8):
        text = f"Anna has {number + 8} apples and eats {number}. How many are left?"
        assert ladder.add(text, domain=NUMBERS, forbidden=frozenset(), parent=ladder.roots()[0], move="easier")
    (folder / workdir).mkdir()
    return TrainingJob(
        base=write_model(folder / "model", guesses=GUESSES),
        adapter=None,
        ladder=ladder,
        workdir=folder / workdir,
        settings=LearnSettings(
            steps=4, prompts=5, group=6, rank=2, warmup=1, bf16=False, checkpoint_every=1, pseudo_labels=0.6
        ),
        ladder_settings=LadderSettings(rollouts=2),
        seed=0,
        threads=1,
        domain="numbers",
        references=references_of([root], domain=NUMBERS),
        form=FormatSettings(name="chat", max_tokens=8),
    )


def labelled_by(rewarded: bytes) -> set[str]:
    return {row["answer"] for row in map(json.loads, rewarded.splitlines()) if PSEUDO in row}


def test_an_interrupted_training_resumes_to_the_same_labels(tmp_path: Path) -> None:
    whole = train(job_of(tmp_path, "whole"))
    cut = job_of(tmp_path, "cut")

    def interrupt(point: CurvePoint, _: int) -> None:
        if point.step == 3:  # its checkpoint is not written yet
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(cut, on_step=interrupt)
    steps: list[int] = []
    resumed = train(cut, on_step=lambda point, _: steps.append(point.step))
    assert steps == [3, 4]
    assert labelled_by(whole.rewarded.read_bytes()) == set(GUESSES), "groups have majorities of both answers"
    assert resumed.rewarded.read_bytes() == whole.rewarded.read_bytes()
    assert [point.groups_used for point in resumed.curve] == [point.groups_used for point in whole.curve]


def test_two_processes_give_the_labels_of_one(tmp_path: Path) -> None:
    jobs = {count: job_of(tmp_path, str(count)) for count in (1, 2)}

    alone = train(jobs[1])
    curves = in_each_process(lambda: [point.groups_used for point in train(jobs[2]).curve], tmp_path)
    assert curves == [[point.groups_used for point in alone.curve]] * 2
    assert labelled_by(alone.rewarded.read_bytes()) == set(GUESSES)
    assert (jobs[2].workdir / "rewarded.jsonl").read_bytes() == alone.rewarded.read_bytes()
