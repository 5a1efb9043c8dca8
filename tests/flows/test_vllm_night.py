"""A whole night on SmolLM2-135M-Instruct with a real vLLM that the worker starts, killed in the middle in both ways.

`make vllm smollm2` once, then `make test-slow ARGS=tests/flows/test_vllm_night.py`. About eight minutes on two cores.
"""

from __future__ import annotations

import json
import signal
import threading
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from everlearn.cycle.workspace import Workspace
from tests.support.night import write_shard
from tests.support.vllm import PROGRAM, SMOLLM2, generated_tokens, needs_smollm2, needs_vllm

if TYPE_CHECKING:
    from tests.support.prefect import Nights, Ran

pytestmark = [pytest.mark.slow, needs_vllm, needs_smollm2]
SETTINGS: dict[str, Any] = {
    "domain": "arithmetic",
    "base": {"path": SMOLLM2},
    "rollouts": {"engine": "vllm", "program": PROGRAM, "dtype": "float32"},
    "format": {"name": "chat", "system": "Calculate.", "answer_prefix": "{statement} = ", "max_tokens": 10},
    "ladder": {"rungs": 10, "depth": 1, "breadth": 4, "tries": 1, "rollouts": 2},
    "learn": {"steps": 3, "prompts": 4, "group": 4, "rank": 8, "alpha": 16, "bf16": False, "max_kl": 20},
}


def servers() -> list[psutil.Process]:
    """Return the processes of vLLM that serve the model."""
    found = []
    for process in psutil.process_iter(["cmdline", "name"]):
        words = process.info["cmdline"] or []
        if str(SMOLLM2.resolve()) in words or str(process.info["name"]).startswith("VLLM"):
            found.append(process)
    return found


def wait_for_no_server() -> None:
    _, left = psutil.wait_procs(servers(), timeout=60)
    assert not left, "a process of vLLM is left behind"


def test_vllm_decodes_a_whole_night_and_no_kill_loses_anything(nights: Nights) -> None:
    (nights.data / "a.jsonl").unlink()
    write_shard(nights.data / "b.jsonl", [f"{1234 + 57 * n} + {8765 - 31 * n}" for n in range(24)])
    suite = nights.folder / "data" / "suites" / "short.jsonl"
    lines = [{"suite": "short", "kind": "skill"}]
    lines += [{"id": f"s{n}", "statement": f"{n % 9 + 1} + {n // 3 + 1}"} for n in range(12)]
    suite.write_text("".join(json.dumps(line) + "\n" for line in lines))

    worker_killed = nights.run(die_at="checkpoint", may_decode=False, **SETTINGS)
    assert worker_killed.was_killed, worker_killed.stderr[-3000:]
    wait_for_no_server()

    engine_killed = run_and_kill_the_engine(nights)
    assert engine_killed.code not in {0, -signal.SIGKILL}
    assert "no vLLM server is left" in engine_killed.stderr
    wait_for_no_server()

    ran = nights.run(may_decode=False, **SETTINGS)
    assert ran.code == 0, ran.stderr[-3000:]
    assert ran.ended["end"] in {"PUBLISHED", "REJECTED", "INSUFFICIENT"}
    wait_for_no_server()
    work = Workspace(nights.server.store(nights.bucket), "integration", ran.ended["cycle_key"])
    published = json.loads(work.get("check/bytes"))
    assert published["same_answers"] == published["probes"] > 0, "vLLM and peft give the same answers"
    times = {name: json.loads(work.get(name)) for name in work.names() if name.startswith("time/")}
    assert times["time/train"]["tokens"] > 0


def run_and_kill_the_engine(nights: Nights) -> Ran:
    """Run the night, and kill the engine of its server once it has answered something."""
    ran: list[Ran] = []
    thread = threading.Thread(target=lambda: ran.append(nights.run(may_decode=False, **SETTINGS)))
    thread.start()
    killed = False
    while thread.is_alive():
        if not killed and (port := port_of_the_server()) and generated_tokens(f"http://127.0.0.1:{port}"):
            [engine] = [process for process in servers() if process.name() == "VLLM::EngineCore"]
            engine.send_signal(signal.SIGKILL)
            killed = True
        thread.join(1)
    assert killed, ran[0].stderr[-3000:]
    return ran[0]


def port_of_the_server() -> str | None:
    """Return the port that a server was started with, or None if there is none."""
    commands = [process.cmdline() for process in servers()]
    return next((words[words.index("--port") + 1] for words in commands if "--port" in words), None)
