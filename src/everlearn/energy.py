"""Energy that this machine's processors have used, where the kernel tells it: Intel's and AMD's RAPL counters below /sys.

A counter covers a whole processor package, other work on it included, and begins again at nought after some hundred kilojoules. Graphics
cards are not in it. In a container or a virtual machine there usually is none, and the result is 0.
"""

from __future__ import annotations

import threading
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
_LOCK = threading.Lock()


class EnergyMeter:
    """Sums the counters of the packages below a folder; asked at least once in each of their rounds, it loses nothing."""

    def __init__(self, folder: Path = POWERCAP) -> None:
        self._folder = folder
        self._last: dict[Path, int] = {}
        self._microjoules = 0

    def joules(self) -> float:
        """Return the joules since the first call; 0 where no counter can be read."""
        with _LOCK:
            for package in sorted(self._folder.glob("intel-rapl:[0-9]*")):
                if package.name.count(":") == 1:  # those of cores and memory are in it
                    self._microjoules += self._used(package)
            return self._microjoules / 1e6

    def _used(self, package: Path) -> int:
        """Return the microjoules of a package since the last call."""
        try:
            now = int((package / "energy_uj").read_text())
            before = self._last.get(package, now)
            self._last[package] = now
            return now - before if now >= before else now - before + int((package / "max_energy_range_uj").read_text())
        except (OSError, ValueError):  # readable by root alone, on most machines
            return 0


_METER = EnergyMeter()


def joules() -> float:
    """Return the joules that the processors of this machine have used since the first call; 0 where nothing tells it."""
    return _METER.joules()
