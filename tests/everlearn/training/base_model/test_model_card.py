"""The shipped base model and its card."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from everlearn.training.base_model import model_card
from everlearn.training.base_model.model_card import measure_compositions, measure_sums, render_card, write_card
from everlearn.training.models.fingerprint import fingerprints
from everlearn.training.models.policy import load_policy

if TYPE_CHECKING:
    from pathlib import Path


def read_card(base: Path) -> tuple[str, dict[int, float], dict[int, float]]:
    """Return the digest and the pass rates on sums by size, and on compositions by depth, that the card states."""
    text = (base / "README.md").read_text()
    digest = re.search(r"`([0-9a-f]{64})`", text)
    assert digest is not None
    sums, compositions = (
        {int(size): rate for size, rate in json.loads(table).items()}
        for table in re.findall(r"```json\n(.*?)\n```", text, re.DOTALL)
    )
    return digest[1], sums, compositions


def test_the_shipped_base_has_the_digest_of_its_card(shipped: Path) -> None:
    digest, sums, compositions = read_card(shipped)
    assert fingerprints(shipped)[1] == digest
    assert sums[2] >= 0.98
    assert sums[14] <= 0.02
    assert compositions[2] > compositions[8]


@pytest.mark.slow
def test_the_shipped_base_has_the_ability_of_its_card(shipped: Path) -> None:
    _, sums, compositions = read_card(shipped)
    now = measure_sums(shipped, sizes=(2, 8, 14), items=60)
    assert all(abs(now[size] - sums[size]) <= 0.15 for size in now), (now, sums)
    deep = measure_compositions(shipped, depths=(2, 6), items=40)
    assert all(abs(deep[depth] - compositions[depth]) <= 0.2 for depth in deep), (deep, compositions)


def test_the_shipped_base_fits_in_eight_megabytes(shipped: Path) -> None:
    assert sum(path.stat().st_size for path in shipped.iterdir()) <= 8_000_000


def test_the_card_of_the_shipped_base_is_what_the_template_gives(shipped: Path) -> None:
    digest, sums, compositions = read_card(shipped)
    parameters = sum(tensor.numel() for tensor in load_policy(shipped).base_weights.values())
    card = render_card(parameters=parameters, digest=digest, sums=sums, compositions=compositions)
    assert card == (shipped / "README.md").read_text()


def test_a_written_card_can_be_read(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = shutil.copytree(tiny, tmp_path / "base")
    monkeypatch.setattr(model_card, "measure_sums", lambda _: {1: 0.5, 2: 0.0})
    monkeypatch.setattr(model_card, "measure_compositions", lambda _: {3: 0.25})
    write_card(base, parameters=1_000_000)
    assert read_card(base) == (fingerprints(base)[1], {1: 0.5, 2: 0.0}, {3: 0.25})
