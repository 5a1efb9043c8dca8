"""The command `python -m bench.learning`: see the docstring of the package."""

from __future__ import annotations

import bench.learning
from bench.learning.arms import Options
from bench.learning.command import Command
from bench.learning.subject import SUMS

COMMAND = Command(module="bench.learning", description=bench.learning.__doc__ or "", subject=SUMS, defaults=Options())

if __name__ == "__main__":
    COMMAND.run()
