"""The shipped base model and its card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.training.base_model.model_card import measure_ability, read_card
from everlearn.training.models.fingerprint import fingerprint

if TYPE_CHECKING:
    from pathlib import Path


def test_the_shipped_base_has_the_digest_and_ability_of_its_card(shipped: Path) -> None:
    digest, rates = read_card(shipped)
    assert fingerprint(shipped) == digest
    now = measure_ability(shipped, sizes=(2, 8, 14), items=60)
    assert all(abs(now[size] - rates[size]) <= 0.15 for size in now), (now, rates)
    assert rates[2] >= 0.98
    assert rates[14] <= 0.02


def test_the_shipped_base_fits_in_eight_megabytes(shipped: Path) -> None:
    assert sum(path.stat().st_size for path in shipped.iterdir()) <= 8_000_000
