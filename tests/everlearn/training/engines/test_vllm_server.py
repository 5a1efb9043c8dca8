"""A vLLM server that a worker starts beside itself: who decodes, how long it lives, and what is said where it cannot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from select import select
from typing import TYPE_CHECKING

import pytest
import torch

from everlearn.domains.contract import load_domain
from everlearn.errors import ModelError, ServiceError
from everlearn.ladder.tree import PROPOSALS
from everlearn.problem import Answer, Problem
from everlearn.settings import FormatSettings, LadderSettings, LearnSettings, RolloutSettings
from everlearn.training import rollouts
from everlearn.training.engines.vllm_server import (
    ServerPlan,
    plan_servers,
    require_rank,
    running_servers,
    stop_servers,
)
from everlearn.training.evaluation import measure
from everlearn.training.fresh_process import probe
from everlearn.training.in_context import measure_in_context
from everlearn.training.job import GrowthJob, TrainingJob
from everlearn.training.ladder_growth import grow, plant
from everlearn.training.models.policy import load_policy
from everlearn.training.trainer import train
from tests.support.chat_models import write_model
from tests.support.fake_vllm import FakeVllm
from tests.support.fake_vllm_program import ROOT, write_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everlearn.ladder.tree import Ladder
    from everlearn.training.asking import Asking

CPU = torch.device("cpu")
DOMAIN = load_domain("arithmetic")
PROBLEMS = tuple(Problem(id=text, domain="arithmetic", statement=text) for text in ("12 + 30", "7 + 85", "40 + 4"))
FORM = FormatSettings(name="chat", max_tokens=4)
OWNER = """
import sys, time
from pathlib import Path
import torch
from everlearn.settings import RolloutSettings
from everlearn.training.engines.vllm_server import plan_servers, running_servers
settings = RolloutSettings(engine="vllm", dtype="float32", program=Path(sys.argv[2]))
running_servers(plan_servers(Path(sys.argv[1]), settings=settings, device=torch.device("cpu"), rank=4, threads=1))
print("ready", flush=True)
time.sleep(1000)
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("chat"))


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[RolloutSettings]:
    folder = tmp_path / "bin"
    folder.mkdir()
    yield RolloutSettings(engine="vllm", dtype="float32", program=write_program(folder))
    stop_servers()


def never(*_: object, **__: object) -> None:
    raise AssertionError("decoded in this process")


def decode_all(base: Path, settings: RolloutSettings, workdir: Path) -> None:
    """Do all that decodes in a night: proposals, pass rates, a training, a suite in its context, and the probes."""
    growth = LadderSettings(rungs=4, depth=1, breadth=3, tries=1, rollouts=2)
    ladder = grow(
        GrowthJob(
            base=base, adapter=None, roots=PROBLEMS, settings=growth, seed=1, threads=1, form=FORM, rollouts=settings
        )
    )
    assert ladder.counts[PROPOSALS]
    learn = LearnSettings(steps=2, prompts=2, group=2, rank=4, alpha=8, bf16=False)
    trained = train(job_of(base, ladder, workdir, learn=learn, growth=growth, settings=settings))
    assert [point.stopped for point in trained.curve] == [None, None]
    assert all(rung.rollouts for rung in trained.ladder.rungs.values())
    asking: Asking = {"threads": 1, "form": FORM, "rollouts": settings}
    answers = measure(base, trained.adapter, PROBLEMS, seed=1, **asking)
    assert [answer.item for answer in answers] == [problem.id for problem in PROBLEMS]
    solved = [Answer(problem=problem, text="7") for problem in PROBLEMS]
    shown = measure_in_context(base, trained.adapter, PROBLEMS, solved, policy="parent", counts=[1], seed=1, **asking)
    assert len(list(shown)) == 2
    probes = probe(base, trained.adapter, PROBLEMS, domain=DOMAIN, seed=1, threads=1, form=FORM, rollouts=settings)
    assert len(probes) == len(PROBLEMS)


def test_with_vllm_nothing_is_decoded_here(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "decode", never)
    with FakeVllm(load_policy(base, rank=4, alpha=8)) as server:
        given = {"engine": "vllm", "servers": [server.url], "adapters": tmp_path / "adapters", "dtype": "float32"}
        decode_all(base, RolloutSettings.model_validate(given), tmp_path / "work")
    loaded = [call.removeprefix("load ").rpartition("-")[0] for call in server.calls if call.startswith("load ")]
    assert loaded == ["parent", "step-0", "step-1", "step-2", "measured", "measured", "probed"]


def test_without_vllm_all_of_it_is_decoded_here(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above would see one."""
    monkeypatch.setattr(rollouts, "decode", never)
    with pytest.raises(AssertionError, match="decoded in this process"):
        decode_all(base, RolloutSettings(), tmp_path)


@pytest.mark.slow
def test_one_server_decodes_everything_from_the_ladder_to_the_probes(
    base: Path, settings: RolloutSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollouts, "decode", never)
    decode_all(base, settings, tmp_path / "work")
    names = [name.rpartition("-")[0] for name in (settings.program.parent / "loads").read_text().split()]
    assert {"parent", "step-0", "step-1", "measured", "probed"} <= set(names)
    assert len(starts(settings)) == 1, "one server for all steps"


@pytest.mark.slow
@pytest.mark.parametrize("sent", ["SIGKILL to the owner", "SIGINT to all"])
def test_the_server_ends_with_its_owner(base: Path, settings: RolloutSettings, tmp_path: Path, sent: str) -> None:
    (settings.program.parent / "idle").touch()
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    environ = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, str(script), str(base), str(settings.program)]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True, start_new_session=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        [processes] = starts(settings)
        watched = list(map(os.pidfd_open, processes))
        if sent == "SIGINT to all":
            os.killpg(owner.pid, signal.SIGINT)  # as Ctrl-C in a terminal does
        else:
            owner.send_signal(signal.SIGKILL)
    for process in watched:
        assert select([process], [], [], 60)[0], "the server, or what it started, is still there"
        os.close(process)


def test_a_server_that_died_is_replaced_and_its_log_is_kept(
    base: Path, settings: RolloutSettings, caplog: pytest.LogCaptureFixture
) -> None:
    (settings.program.parent / "idle").touch()
    caplog.set_level("INFO", logger="everlearn.learn")
    plans = plan_servers(base, settings=settings, device=CPU, rank=4, threads=1)
    [first] = running_servers(plans)
    assert running_servers(plans) == [first]
    [(server, _)] = starts(settings)
    os.kill(server, signal.SIGKILL)
    first._process.wait()
    [second] = running_servers(plans)
    assert second is not first
    assert second.is_alive
    logs = [Path(record.args[2]) for record in caplog.records if record.msg.startswith("starting vLLM")]  # type: ignore[index,arg-type]
    stop_servers()
    assert [log.exists() for log in logs] == [True, False]
    logs[0].unlink()


@pytest.mark.slow
def test_a_running_server_is_not_stopped_for_an_adapter_of_a_higher_rank(base: Path, settings: RolloutSettings) -> None:
    require_rank(64)  # nothing runs yet
    [server] = running_servers(plan_servers(base, settings=settings, device=CPU, rank=12, threads=1))
    require_rank(16)
    with pytest.raises(ModelError, match="takes adapters up to rank 16, this one has 20"):
        require_rank(20)
    assert server.is_alive


def test_a_server_that_does_not_start_says_why(base: Path, settings: RolloutSettings) -> None:
    (settings.program.parent / "broken").touch()
    plans = plan_servers(base, settings=settings, device=CPU, rank=4, threads=1)
    with pytest.raises(ServiceError, match=r"did not start; its log ends:\nno room for the keys and values"):
        running_servers(plans)


def test_what_vllm_cannot_serve_is_said_before_anything_starts(
    base: Path, tiny: Path, settings: RolloutSettings, tmp_path: Path
) -> None:
    missing = settings.model_copy(update={"program": tmp_path / "nowhere"})
    for message, model, changed, rank in (
        (r"no program .*nowhere: run `make vllm`", base, missing, 4),
        (r"up to rank 512, not 1024: lower learn\.rank", base, settings, 1024),
        (r"index markers: set rollouts\.engine: local", tiny, settings, 4),
    ):
        with pytest.raises(ModelError, match=message):
            plan_servers(model, settings=changed, device=CPU, rank=rank, threads=1)
    assert not (settings.program.parent / "pids").exists()


def plan(base: Path, settings: RolloutSettings, device: str) -> ServerPlan:
    return plan_servers(base, settings=settings, device=torch.device(device), rank=9, threads=2)[0]


def test_a_server_shares_the_only_gpu_with_the_learner(
    base: Path, settings: RolloutSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    shared = plan(base, settings, "cuda:0")
    command = shared.command(8000)
    assert shared.can_sleep
    assert command[command.index("--max-lora-rank") + 1] == "16"
    assert command[command.index("--gpu-memory-utilization") + 1] == "0.45"
    assert "--enable-sleep-mode" in command
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for alone in (plan(base, settings, "cuda:0"), plan(base, settings, "cpu")):
        assert not alone.can_sleep
        assert "--enable-sleep-mode" not in alone.command(8000)


def test_a_server_sees_its_own_card_and_no_keys(
    base: Path, settings: RolloutSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    beside = plan(base, settings, "cuda:0")
    assert "AWS_SECRET_ACCESS_KEY" not in beside.environment()
    assert beside.environment()["CUDA_VISIBLE_DEVICES"] == "6"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert beside.environment()["CUDA_VISIBLE_DEVICES"] == "1"


@pytest.mark.slow
def test_two_processes_train_on_the_answers_of_one_server(
    base: Path, settings: RolloutSettings, tmp_path: Path
) -> None:
    given = LearnSettings(steps=2, prompts=2, group=4, rank=4, alpha=8, bf16=False, processes=2)
    ladder = plant([problem.statement for problem in PROBLEMS], domain=DOMAIN, forbidden=frozenset())
    growth = LadderSettings(rollouts=1)
    job = job_of(base, ladder, tmp_path / "work", learn=given, growth=growth, settings=settings)
    trained = train(job)
    assert [point.step for point in trained.curve] == [1, 2]
    assert len(starts(settings)) == 1
    names = [name.rpartition("-")[0] for name in (settings.program.parent / "loads").read_text().split()]
    assert names == ["step-0", "step-1", "step-2"], "the first process loads for both"


def job_of(
    base: Path,
    ladder: Ladder,
    workdir: Path,
    *,
    learn: LearnSettings,
    growth: LadderSettings,
    settings: RolloutSettings,
) -> TrainingJob:
    return TrainingJob(
        base=base,
        adapter=None,
        ladder=ladder,
        workdir=workdir,
        settings=learn,
        ladder_settings=growth,
        seed=1,
        threads=1,
        domain="arithmetic",
        form=FORM,
        rollouts=settings,
    )


def starts(settings: RolloutSettings) -> list[list[int]]:
    """Return the processes of each start: the server, and what it started."""
    return [list(map(int, line.split())) for line in (settings.program.parent / "pids").read_text().splitlines()]
