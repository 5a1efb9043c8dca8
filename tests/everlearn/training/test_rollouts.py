"""Rollouts: what an answer is does not depend on what else is in its batch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.domains.arithmetic.domain import Arithmetic
from everlearn.domains.contract import Domain, load_domain
from everlearn.errors import ModelError
from everlearn.ladder.tree import rung_digest
from everlearn.problem import Problem, Ruling, Verdict
from everlearn.settings import ComputeSettings, FormatSettings
from everlearn.training import memory_estimate, memory_plan, rollouts
from everlearn.training import train_step as step
from everlearn.training.engines.decode import Completion, decode
from everlearn.training.engines.vllm import Replicas
from everlearn.training.fresh_process import probe
from everlearn.training.ladder_growth import plant
from everlearn.training.models.formats.format_choice import choose_format
from everlearn.training.models.policy import load_policy
from everlearn.training.preflight import check_room
from everlearn.training.rollouts import Solver, attempt
from everlearn.training.train_step import train_step
from tests.support.fake_vllm import FakeVllm
from tests.support.silent_faults import begin
from tests.support.tiny_models import write_model

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from everlearn.training.models.llama import Model

DOMAIN = load_domain("integration")
SHORT, LONG = "2*x", " + ".join(f"{number}*cos({number}*x)" for number in range(2, 10))


def test_the_limit_of_an_answer_does_not_depend_on_its_batch(tiny: Path) -> None:
    policy = load_policy(tiny)
    form = choose_format(policy, DOMAIN, FormatSettings())
    solver = Solver(policy=policy, model=policy.snapshot(), domain=DOMAIN, form=form)
    short, long = (DOMAIN.problem(text) for text in (SHORT, LONG))
    both = attempt(solver, [short, long], group=16, seed=1)
    for group in both:
        limit = form.max_tokens(group.prompt)
        assert all(len(row.ids) <= limit for row in group.completions)
    limit = form.max_tokens(both[0].prompt)
    assert any(len(row.ids) == limit and not row.finished for row in both[0].completions), "an untrained model goes on"
    assert limit < form.max_tokens(both[1].prompt)
    [alone] = attempt(solver, [short], group=16, seed=1)
    assert [row.ids for row in alone.completions] == [row.ids for row in both[0].completions]


SUMS = load_domain("arithmetic")
HUB = ComputeSettings(policy="hub", device="cpu")
SMALL, LARGE = (Problem(id=text, domain="arithmetic", statement=text) for text in ("1 + 2", f"{'4' * 99} * {'5' * 99}"))


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a table of 256 positions: a token beyond has none."""
    return write_model("gpt2, transposed weights", tmp_path_factory.mktemp("gpt2"))


def solver_of(base: Path, *, max_tokens: int, context: int | None = 256) -> Solver:
    policy = replace(load_policy(base, compute=HUB), context=context)
    form = choose_format(policy, SUMS, FormatSettings(name="chat", max_tokens=max_tokens))
    return Solver(policy=policy, model=policy.snapshot(), domain=SUMS, form=form)


@pytest.mark.parametrize("compute", [ComputeSettings(), HUB])
def test_keys_and_values_of_a_batch_fit_into_memory(
    compute: ComputeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All answers may ramble to their limit, which prompts do not show."""
    policy = load_policy(write_model("llama", tmp_path / "base"), compute=compute)
    form = choose_format(policy, SUMS, FormatSettings(name="chat", max_tokens=100))
    solver = Solver(policy=policy, model=policy.snapshot(), domain=SUMS, form=form)
    problems, rows = [SUMS.problem(f"{number} + 7") for number in range(10, 30)], list[int]()
    at_once = attempt(solver, problems, group=2, seed=1)
    longest = max(len(group.prompt) + 100 for group in at_once)

    def counted(model: Model, prompts: Sequence[list[int]], *, group: int, **given: Any) -> list[list[Completion]]:
        rows.append(len(prompts) * group)
        return decode(model, prompts, group=group, **given)

    monkeypatch.setattr(rollouts, "decode", counted)
    kept = 2 * 2 * 4 * (4 if compute.policy == "auto" else 2) * 8  # bytes a token: layers, heads of width 8, float32
    monkeypatch.setattr(memory_plan, "DECODE_GIB", 8 * longest * kept / memory_estimate.GIB)
    in_parts = attempt(solver, problems, group=2, seed=1)
    assert sum(rows) == 40
    assert max(rows) <= 8
    assert [group.answers for group in in_parts] == [group.answers for group in at_once]


class Content(Arithmetic):
    """A domain that takes silence for a right answer."""

    def verify(self, problem: Problem, answer: str) -> Verdict:
        return Verdict(ruling=Ruling.WRONG if answer else Ruling.CORRECT, reason="")


def test_an_answer_that_is_cut_off_is_never_right(gpt2: Path) -> None:
    solver = replace(solver_of(gpt2, max_tokens=2), domain=Domain(Content()))
    [group] = attempt(solver, [SMALL], group=8, seed=1)
    cut = [verdict for verdict, row in zip(group.verdicts, group.completions, strict=True) if not row.finished]
    assert len(cut) > 4
    assert {(verdict.ruling, verdict.reason) for verdict in cut} == {(Ruling.UNREADABLE, "the answer was cut off")}


def test_an_answer_is_cut_where_the_context_ends(gpt2: Path) -> None:
    assert load_policy(gpt2, compute=HUB).context == 256
    small, large = attempt(solver_of(gpt2, max_tokens=150), [SMALL, LARGE], group=4, seed=1)
    assert len(small.prompt) + 150 <= 256 < len(large.prompt) + 150
    assert all(len(large.prompt) + len(row.ids) <= 256 for row in large.completions)
    assert max(len(row.ids) for row in small.completions) > max(len(row.ids) for row in large.completions)


def test_a_prompt_that_fills_the_context_is_not_answered(gpt2: Path, caplog: pytest.LogCaptureFixture) -> None:
    solver = solver_of(gpt2, max_tokens=20, context=100)
    small, large = attempt(solver, [SMALL, LARGE], group=2, seed=1)
    assert (small.is_asked, large.is_asked) == (True, False)
    assert [verdict.ruling for verdict in large.verdicts] == [Ruling.UNREADABLE] * 2
    assert "1 of 2 prompts fill the model's context: not answered" in caplog.messages
    [alone] = attempt(solver, [SMALL], group=2, seed=1)
    assert alone.completions == small.completions


def test_servers_with_a_shorter_context_decide(gpt2: Path, tmp_path: Path) -> None:
    solver = solver_of(gpt2, max_tokens=20)
    with FakeVllm(solver.policy, context=100) as server:
        client = Replicas([server.url], stops=solver.policy.stops, folder=tmp_path)
        client.load(solver.policy, version="v1")
        groups = attempt(replace(solver, sampler=client), [SMALL, LARGE], group=2, seed=1)
    assert [group.is_asked for group in groups] == [True, False]


def test_a_night_begins_only_if_a_problem_leaves_room(gpt2: Path, caplog: pytest.LogCaptureFixture) -> None:
    check_room(solver_of(gpt2, max_tokens=20), [SMALL, LARGE])
    assert not caplog.messages
    check_room(solver_of(gpt2, max_tokens=150), [SMALL, LARGE])
    [line] = caplog.messages
    assert line.startswith(
        "1 of 2 prompts leave less room than an answer may have, so theirs are cut: the shortest has "
    )
    with pytest.raises(ModelError, match=r"an answer may have 250 .* the context has 256; lower format\.max_tokens"):
        check_room(solver_of(gpt2, max_tokens=250), [SMALL, LARGE])
    check_room(solver_of(gpt2, max_tokens=250, context=None), [SMALL, LARGE])


def test_a_step_trains_on_the_problems_that_leave_room(gpt2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "choose_problems", lambda run: list(run.ladder.rungs))
    run = begin(gpt2, compute=HUB)
    run.policy = replace(run.policy, context=100)
    run.ladder = plant([SMALL.statement, LARGE.statement], domain=SUMS, forbidden=frozenset())
    point = train_step(run, budget_used=0.0)
    assert (point.groups_sampled, point.stopped) == (2, None)
    del run.ladder.rungs[rung_digest(SMALL.statement, domain=SUMS)]
    with pytest.raises(ModelError, match="no prompt of this step leaves room for an answer"):
        train_step(run, budget_used=0.0)


def test_the_proof_leaves_out_what_has_no_answer(gpt2: Path, tmp_path: Path) -> None:
    adapter = load_policy(gpt2, rank=2, compute=HUB).save(tmp_path / "adapter")
    form = FormatSettings(name="chat", max_tokens=8, system="7" * 60)
    probes = probe(gpt2, adapter, [LARGE, SMALL], domain=SUMS, seed=1, threads=1, compute=HUB, form=form)
    assert len(probes) == 1
