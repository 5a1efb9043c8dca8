"""The best version on a suite."""

from __future__ import annotations

import pytest

from everlearn.gate.best_versions import best_version


@pytest.mark.parametrize(
    ("shares", "best"),
    [
        ({"v1": 0.5, "v2": 0.5}, "v1"),
        ({"v1": 0.5, "v2": 0.53, "v3": 0.51}, "v1"),
        ({"v1": 0.5, "v2": 0.6, "v3": 0.62}, "v2"),
        ({"v1": 0.5, "v2": 0.54, "v3": 0.58}, "v3"),
        ({"v1": 0.7, "v2": 0.41}, "v1"),
        ({}, None),
    ],
    ids=["equal", "lucky", "clearly better", "better in small steps", "one that fell", "none"],
)
def test_only_a_clear_gain_makes_a_version_the_best(shares: dict[str, float], best: str | None) -> None:
    assert best_version(shares, items=700) == best


def test_few_items_prove_little() -> None:
    shares = {"v1": 0.5, "v2": 0.7}
    assert [best_version(shares, items=items) for items in (31, 200)] == ["v1", "v2"]
