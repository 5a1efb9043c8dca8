"""The bench for a GPU, on a CPU with a tiny model: the same code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bench.gpu import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing. is deprecated:FutureWarning")  # trl of the lock needs it
@pytest.mark.slow
def test_the_device_agrees_with_float32_and_a_killed_training_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gpu.json"
    main(
        [
            *["--device", "cpu", "--geometries", "tiny", "--answer-tokens", "8", "--rounds", "1", "--json", "--out"],
            str(out),
        ]
    )
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found == json.loads(out.read_text())
    assert found["parity"]["relative_error"] < 0.05
    assert found["parity"]["cosine"] > 0.998
    assert found["resume"] == {"killed_by": 9.0, "largest_difference": 0.0}
    assert found["tiny"]["update_tokens_per_second"] > 0
    assert found["tiny"]["trl_update_tokens_per_second"] > 0
