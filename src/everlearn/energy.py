"""Energy that this machine has used, where it tells: processors by the kernel, NVIDIA's GPUs by their driver.

Processors: Intel's and AMD's RAPL counters below /sys. GPUs: NVML's counter of each card since Volta, read from the
driver's library, since `nvidia-smi --query-gpu` shows power but no energy on most drivers. A counter covers a whole
package or card, other work on it included. In a container or a virtual machine there often is none, and the result is
0.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POWERCAP = Path("/sys/class/powercap")
NVML = "libnvidia-ml.so.1"
ROUND_S = 60.0
"""Seconds after which the meters are asked again: less than a round of any counter."""
_LOCK = threading.Lock()


class EnergyMeter:
    """Sums the counters of the packages below a folder; asked at least once in each of their rounds, it loses nothing.

    A counter begins again at nought after some hundred kilojoules.
    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        self._folder = folder
        self._last: dict[Path, int] = {}
        self._microjoules = 0

    def joules(self) -> float:
        """Return the joules since the first call; 0 where no counter can be read."""
        with _LOCK:
            for package in sorted(self._folder.glob("intel-rapl:[0-9]*")):
                if package.name.count(":") == 1 and not self._is_platform(package):  # those of cores are in it
                    self._microjoules += self._used(package)
            return self._microjoules / 1e6

    def _is_platform(self, package: Path) -> bool:
        """Return whether that is the counter of a whole laptop, which has the packages in it: beside them, they count once."""
        try:
            return (package / "name").read_text().strip() == "psys"
        except OSError:
            return False

    def _used(self, package: Path) -> int:
        """Return the microjoules of a package since the last call that could read it."""
        try:
            now = int((package / "energy_uj").read_text())
            used = now - self._last.get(package, now)
            if used < 0:  # it has begun again
                used += int((package / "max_energy_range_uj").read_text())
        except (OSError, ValueError):  # readable by root alone, on most machines
            return 0
        self._last[package] = now
        return used


class GpuEnergyMeter:
    """Sums NVML's counters of all GPUs of the machine. `load` returns the library, or raises OSError where there is none."""

    def __init__(self, load: Callable[[], Any] = lambda: ctypes.CDLL(NVML)) -> None:
        self._load = load
        self._cards: list[ctypes.c_void_p] | None = None
        self._library: Any = None
        self._last: dict[int, int] = {}
        self._millijoules = 0

    def joules(self) -> float:
        """Return the joules since the first call; 0 where no GPU tells it."""
        with _LOCK:
            if self._cards is None:
                self._cards = self._open()
            for number, card in enumerate(self._cards):
                now = ctypes.c_ulonglong()
                if self._library.nvmlDeviceGetTotalEnergyConsumption(card, ctypes.byref(now)) == 0:
                    self._millijoules += max(0, now.value - self._last.get(number, now.value))  # a reload restarts it
                    self._last[number] = now.value
            return self._millijoules / 1e3

    def _open(self) -> list[ctypes.c_void_p]:
        """Return the cards of the machine; none where there is no driver."""
        try:
            self._library = self._load()
        except OSError:
            return []
        count = ctypes.c_uint()
        if self._library.nvmlInit_v2() != 0 or self._library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return []
        cards = [ctypes.c_void_p() for _ in range(count.value)]
        return [
            card
            for number, card in enumerate(cards)
            if self._library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(number), ctypes.byref(card)) == 0
        ]


_METERS = (EnergyMeter(), GpuEnergyMeter())


@contextlib.contextmanager
def asked_meanwhile() -> Iterator[None]:
    """Ask the meters every minute while the block runs: counters of processors begin again after some minutes or hours."""
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(ROUND_S):
            joules()

    asking = threading.Thread(target=ask, name="energy", daemon=True)
    asking.start()
    try:
        yield
    finally:
        ended.set()
        asking.join()


def joules() -> float:
    """Return the joules that processors and GPUs of this machine have used since the first call; 0 where nothing tells it."""
    return sum(meter.joules() for meter in _METERS)
