"""Energy by the counters of kernel and driver: nothing is lost when one begins again, and nothing is claimed where there is none."""

from __future__ import annotations

import ctypes
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn import energy
from everlearn.energy import EnergyMeter, GpuEnergyMeter

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


def test_the_counter_of_a_whole_laptop_does_not_count_its_processor_again(tmp_path: Path) -> None:
    meter, names = EnergyMeter(tmp_path), {"intel-rapl:0": "package-0", "intel-rapl:1": "psys"}
    for microjoules in (0, 500_000):
        for name, kind in names.items():
            write(tmp_path, name, microjoules=microjoules)
            (tmp_path / name / "name").write_text(f"{kind}\n")
        joules = meter.joules()
    assert joules == 0.5


def test_a_step_longer_than_a_round_of_the_counter_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter, package = EnergyMeter(tmp_path), tmp_path / "intel-rapl:0"
    monkeypatch.setattr(energy, "_METERS", (meter,))
    monkeypatch.setattr(energy, "ROUND_S", 0.001)
    write(tmp_path, package.name, microjoules=0)
    before = energy.joules()
    with energy.asked_meanwhile():
        for microjoules in (600_000, 1_200_000, 1_800_000):
            write(tmp_path, package.name, microjoules=microjoules)
            deadline = time.monotonic() + 10
            while meter._last[package] != microjoules % RANGE and time.monotonic() < deadline:
                time.sleep(0.001)
    assert energy.joules() - before == pytest.approx(1.8)


@pytest.mark.parametrize("unreadable", ["energy_uj", "max_energy_range_uj"])
def test_what_could_not_be_read_once_is_counted_by_the_next_call(tmp_path: Path, unreadable: str) -> None:
    meter = EnergyMeter(tmp_path)
    write(tmp_path, "intel-rapl:0", microjoules=600_000)
    meter.joules()
    write(tmp_path, "intel-rapl:0", microjoules=1_200_000)
    (tmp_path / "intel-rapl:0" / unreadable).write_text("")
    assert meter.joules() == 0
    write(tmp_path, "intel-rapl:0", microjoules=1_200_000)
    assert meter.joules() == 0.6


def test_nothing_is_claimed_where_nothing_can_be_read(tmp_path: Path) -> None:
    assert EnergyMeter(tmp_path / "none").joules() == 0
    (tmp_path / "intel-rapl:0").mkdir()
    assert EnergyMeter(tmp_path).joules() == 0
    assert energy.joules() >= 0


class Driver:
    """NVML's functions for cards with these counters in millijoules; None: a card that has no counter."""

    def __init__(self, *counters: int | None, works: bool = True) -> None:
        self.counters, self._works = list(counters), works

    def nvmlInit_v2(self) -> int:  # noqa: N802 (NVML's name)
        return 0 if self._works else 9

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802
        count._obj.value = len(self.counters)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, number: Any, card: Any) -> int:  # noqa: N802
        card._obj.value = number.value + 1
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, card: Any, value: Any) -> int:  # noqa: N802
        counter = self.counters[card.value - 1]
        if counter is None:
            return 3
        value._obj.value = counter
        return 0


def test_gpus_are_added_up_from_the_first_call_on() -> None:
    driver = Driver(5_000, 1_000, None)
    meter = GpuEnergyMeter(lambda: driver)
    assert meter.joules() == 0
    driver.counters[:2] = [7_500, 1_500]
    assert meter.joules() == 3
    driver.counters[0] = 100  # the driver was loaded again
    assert meter.joules() == 3
    driver.counters[0] = 1_100
    assert meter.joules() == 4


def test_without_a_driver_or_with_one_that_does_not_start_there_is_no_energy() -> None:
    assert GpuEnergyMeter(partial(ctypes.CDLL, "libnone-at-all.so")).joules() == 0
    assert GpuEnergyMeter(lambda: Driver(5, works=False)).joules() == 0
