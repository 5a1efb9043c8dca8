"""The bench for a GPU, on a CPU with a tiny model: the same code."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import pytest

from bench import gpu
from bench.gpu import main, offer_domains
from everlearn.domains.contract import load_domain
from everlearn.domains.domain_names import GROUP, known_domains
from everlearn.errors import UnknownDomainError

PROJECT = Path("pyproject.toml").resolve()


TINY = ["--device", "cpu", "--geometries", "tiny", "--answer-tokens", "8", "--rounds", "1", "--json"]


def test_the_device_agrees_with_float32_and_is_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "gpu.json"
    main([*TINY, "--parts", "parity", "speed", "--memory-gib", "0.001", "--out", str(out)])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found == json.loads(out.read_text())
    assert found["parity"]["relative_error"] < 0.05
    assert found["parity"]["cosine"] > 0.998
    assert found["tiny"]["update_tokens_per_second"] > 0
    assert found["tiny"]["memory_gib"] == 0.001 >= found["tiny"]["estimate_gib"]["update"] > 0


def test_what_failed_is_written_beside_what_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> dict[str, float]:
        raise RuntimeError("CUDA out of memory")

    out = tmp_path / "gpu.json"
    monkeypatch.setattr(gpu, "speed", fail)
    with pytest.raises(SystemExit, match="failed: tiny; see "):
        main([*TINY, "--parts", "parity", "speed", "--out", str(out)])
    found = json.loads(out.read_text())
    assert found["tiny"] == {"failed": "tiny: RuntimeError: CUDA out of memory"}
    assert found["parity"]["cosine"] > 0.998
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == found


def test_a_checkout_that_is_not_installed_has_its_domains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(UnknownDomainError):
        load_domain("integration")
    offer_domains(tmp_path)
    assert load_domain("integration").name == "integration"
    assert known_domains() == tuple(sorted(tomllib.loads(PROJECT.read_text())["project"]["entry-points"][GROUP]))


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing. is deprecated:FutureWarning")  # trl of the lock needs it
@pytest.mark.slow
def test_a_killed_training_resumes_and_trl_takes_the_same_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*TINY, "--out", str(tmp_path / "gpu.json")])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["resume"] == {"killed_by": 9.0, "largest_difference": 0.0}
    assert found["tiny"]["trl_update_tokens_per_second"] > 0
