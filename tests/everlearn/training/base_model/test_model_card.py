"""The shipped base model and its card."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

from everlearn.training.base_model import model_card
from everlearn.training.base_model.model_card import measure_ability, render_card, write_card
from everlearn.training.models.fingerprint import fingerprints
from everlearn.training.models.policy import load_policy

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def read_card(base: Path) -> tuple[str, dict[int, float]]:
    """Return the digest and the pass rates by size that the card states."""
    text = (base / "README.md").read_text()
    digest = re.search(r"`([0-9a-f]{64})`", text)
    table = re.search(r"```json\n(.*?)\n```", text, re.DOTALL)
    assert digest is not None
    assert table is not None
    return digest[1], {int(size): rate for size, rate in json.loads(table[1]).items()}


def test_the_shipped_base_has_the_digest_and_ability_of_its_card(shipped: Path) -> None:
    digest, rates = read_card(shipped)
    assert fingerprints(shipped)[1] == digest
    now = measure_ability(shipped, sizes=(2, 8, 14), items=60)
    assert all(abs(now[size] - rates[size]) <= 0.15 for size in now), (now, rates)
    assert rates[2] >= 0.98
    assert rates[14] <= 0.02


def test_the_shipped_base_fits_in_eight_megabytes(shipped: Path) -> None:
    assert sum(path.stat().st_size for path in shipped.iterdir()) <= 8_000_000


def test_the_card_of_the_shipped_base_is_what_the_template_gives(shipped: Path) -> None:
    digest, rates = read_card(shipped)
    parameters = sum(tensor.numel() for tensor in load_policy(shipped).base_weights.values())
    assert render_card(parameters=parameters, digest=digest, rates=rates) == (shipped / "README.md").read_text()


def test_a_written_card_can_be_read(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = shutil.copytree(tiny, tmp_path / "base")
    monkeypatch.setattr(model_card, "measure_ability", lambda _: {1: 0.5, 2: 0.0})
    write_card(base, parameters=1_000_000)
    assert read_card(base) == (fingerprints(base)[1], {1: 0.5, 2: 0.0})
