"""Jobs as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from everlearn.domains.contract import load_domain
from everlearn.settings import LadderSettings, LearnSettings, RolloutSettings
from everlearn.training.job import TrainingJob, load_job
from everlearn.training.ladder_growth import plant

DOMAIN = load_domain("integration")


@pytest.mark.parametrize(
    "other",
    [
        {},
        {
            "adapter": Path("parent"),
            "replay": (DOMAIN.problem("3*x"),),
            "forbidden": frozenset({"a", "b"}),
            "verifiers": 2,
            "rollouts": RolloutSettings(engine="vllm", servers=("http://gpu-1:8000",), adapters=Path("shared")),
        },
    ],
    ids=["defaults", "everything set"],
)
def test_a_saved_job_is_loaded_unchanged(other: dict[str, Any], tmp_path: Path) -> None:
    ladder = plant(["x^2", "2*x^2", "sin(x)"], domain=DOMAIN, forbidden=frozenset())
    settings = LearnSettings(rate=1e-3 / 3, bf16=False)
    job = TrainingJob(
        base=Path("base"),
        ladder=ladder,
        workdir=tmp_path,
        settings=settings,
        ladder_settings=LadderSettings(),
        seed=7,
        threads=2,
        **{"adapter": None} | other,
    )
    loaded = load_job(job.save(tmp_path / "job" / "job.json"))
    assert loaded == job
    assert list(loaded.ladder.rungs) == list(job.ladder.rungs)


def test_a_file_that_is_no_job_is_refused(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"base": "data/base"}')
    with pytest.raises(ValidationError, match="ladder"):
        load_job(tmp_path / "job.json")
