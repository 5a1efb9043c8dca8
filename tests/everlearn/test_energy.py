"""Energy by the kernel's counters: nothing is lost when one begins again, and nothing is claimed where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from everlearn import energy
from everlearn.energy import EnergyMeter

if TYPE_CHECKING:
    from pathlib import Path

RANGE = 1_000_000


def write(folder: Path, name: str, *, microjoules: int) -> None:
    package = folder / name
    package.mkdir(exist_ok=True)
    (package / "energy_uj").write_text(f"{microjoules % RANGE}\n")
    (package / "max_energy_range_uj").write_text(f"{RANGE}\n")


@given(used=st.lists(st.integers(0, RANGE - 1), max_size=8), start=st.integers(0, RANGE - 1))
def test_the_sum_of_all_packages_survives_the_end_of_a_counter(
    used: list[int], start: int, tmp_path_factory: object
) -> None:
    folder: Path = tmp_path_factory.mktemp("powercap")  # type: ignore[attr-defined]
    meter, at = EnergyMeter(folder), start
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        write(folder, name, microjoules=at)
    assert meter.joules() == 0
    for step in used:
        at += step
        for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
            write(folder, name, microjoules=at)
        meter.joules()
    assert meter.joules() == 2 * sum(used) / 1e6


def test_nothing_is_claimed_where_nothing_can_be_read(tmp_path: Path) -> None:
    assert EnergyMeter(tmp_path / "none").joules() == 0
    (tmp_path / "intel-rapl:0").mkdir()
    assert EnergyMeter(tmp_path).joules() == 0
    assert energy.joules() >= 0
