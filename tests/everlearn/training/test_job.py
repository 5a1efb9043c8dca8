"""A night's learning: what ships is what its card says, ladders grow legitimately, killed training goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file

from everlearn.domains.contract import load_domain
from everlearn.ladder.tree import CurvePoint, Ladder, kinships
from everlearn.settings import LadderSettings, LearnSettings
from everlearn.training.base_model.model_card import ability, stated
from everlearn.training.evaluation import measure
from everlearn.training.fresh_process import probe
from everlearn.training.job import grow, train
from everlearn.training.models.fingerprint import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

DOMAIN = load_domain("integration")
LADDER = LadderSettings(rungs=24, depth=3, breadth=8, rollouts=2)
LEARN = LearnSettings(steps=4, prompts=4, group=4, checkpoint_every=1, warmup=1)
ROOTS = [DOMAIN.problem("3*x^2 - sin(2*x) + exp(x) + 1/(x+1) - 2*x*cos(x) + log(x) + 4/x^3 - cos(3*x)")]


def climb(
    base: Path, ladder: Ladder, workdir: Path, *, progress: Callable[[CurvePoint, int], None] | None = None
) -> Path:
    return train(
        base,
        None,
        ladder,
        settings=LEARN,
        ladder_settings=LADDER,
        seed=5,
        threads=1,
        workdir=workdir,
        progress=progress,
    ).adapter


@pytest.fixture(scope="module")
def ladder(shipped: Path) -> Ladder:
    return grow(shipped, None, ROOTS, forbidden=frozenset(), settings=LADDER, seed=5, threads=1)


def test_the_shipped_base_has_the_digest_and_the_ability_that_its_card_states(shipped: Path) -> None:
    digest, rates = stated(shipped)
    assert fingerprint(shipped) == digest
    now = ability(shipped, sizes=(2, 8, 14), items=60)
    assert all(abs(now[size] - rates[size]) <= 0.15 for size in now), (now, rates)
    assert rates[2] >= 0.98
    assert rates[14] <= 0.02


def test_the_shipped_base_fits_in_eight_megabytes(shipped: Path) -> None:
    assert sum(path.stat().st_size for path in shipped.iterdir()) <= 8_000_000


def test_a_ladder_holds_variants_of_its_roots_with_measured_pass_rates(ladder: Ladder) -> None:
    variants = [rung for rung in ladder.rungs.values() if rung.parent]
    assert len(variants) >= 12
    assert all(rung.rollouts == 2 for rung in ladder.rungs.values())
    assert all(rung.parent in ladder.rungs for rung in variants)
    assert any(rung.passed for rung in variants)


def test_no_variant_is_kin_of_a_suite_item(shipped: Path, ladder: Ladder) -> None:
    leaked = kinships([rung.statement for rung in ladder.rungs.values() if rung.parent], domain=DOMAIN)
    again = grow(shipped, None, ROOTS, forbidden=leaked, settings=LADDER, seed=5, threads=1)
    kin = kinships([rung.statement for rung in again.rungs.values() if rung.parent], domain=DOMAIN)
    assert not kin & leaked
    assert again.counts["leak"] > 0


def test_training_killed_in_the_middle_goes_on_to_the_same_bits(shipped: Path, ladder: Ladder, tmp_path: Path) -> None:
    whole = load_file(climb(shipped, ladder, tmp_path / "whole") / "adapter_model.safetensors")
    (tmp_path / "cut").mkdir()
    ladder.save(tmp_path / "ladder.jsonl")
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[3]); import test_job as t\n"
        "from everlearn.ladder.tree import load_ladder\n"
        "def stop(point, of): os.kill(os.getpid(), signal.SIGKILL) if point.step == 3 else None\n"
        "t.climb(Path(sys.argv[1]), load_ladder(Path(sys.argv[2]) / 'ladder.jsonl'), Path(sys.argv[2]) / 'cut', progress=stop)\n"
    )
    here = str(Path(__file__).parent)
    killed = subprocess.run(
        [sys.executable, "-c", code, str(shipped), str(tmp_path), here],
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert killed.returncode == -signal.SIGKILL
    steps: list[int] = []
    resumed = climb(shipped, ladder, tmp_path / "cut", progress=lambda point, _: steps.append(point.step))
    assert steps == [3, 4]
    assert all(
        (tensor == whole[name]).all() for name, tensor in load_file(resumed / "adapter_model.safetensors").items()
    )


def test_measuring_twice_asks_the_same_questions(shipped: Path) -> None:
    problems = [DOMAIN.problem("x + sin(x)"), DOMAIN.problem("exp(x) - 3*x^2 + cos(x)")]
    first = measure(shipped, None, problems, seed=3, threads=1)
    assert first == measure(shipped, None, problems, seed=3, threads=1)
    assert [each.item for each in first] == [problem.id for problem in problems]


@pytest.mark.parametrize("damage", [0, 2], ids=["as trained", "damaged"])
def test_a_fresh_process_knows_the_trained_bytes_from_damaged_ones(
    shipped: Path, ladder: Ladder, tmp_path: Path, damage: int
) -> None:
    adapter = climb(shipped, ladder, tmp_path / "work")
    problems = ROOTS + [DOMAIN.problem(rung.statement) for rung in list(ladder.rungs.values())[:6]]
    probes = probe(shipped, adapter, problems, domain=DOMAIN, seed=1, threads=1)
    (tmp_path / "probes.jsonl").write_text(
        "".join(
            json.dumps({"prompt": p.prompt, "answer": p.answer, "logprob": p.logprob + damage * len(p.answer)}) + "\n"
            for p in probes
        )
    )
    command = [
        sys.executable,
        "-m",
        "everlearn.training.fresh_process",
        str(shipped),
        str(adapter),
        str(tmp_path / "probes.jsonl"),
    ]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    assert report["same_answers"] == report["probes"]
    assert (report["worst_gap"] <= 1e-3) is (damage == 0)
