"""What the ladder adds where no part helps: `bench.learning` on compositions, with the same arms and the same options.

    python -m bench.compositions                      # every arm, three seeds; continues where it was stopped
    python -m bench.compositions --cpu-seconds 75     # at equal CPU seconds, in docs/compositions_seconds.*
    python -m bench.compositions --rerun ladder,1     # repeat one row and compare it item by item

Writes docs/compositions.json, .md and .svg.
"""

from __future__ import annotations

from bench.learning.arms import Options
from bench.learning.command import Command
from bench.learning.subject import COMPOSITIONS

COMMAND = Command(module="bench.compositions", description=__doc__ or "", subject=COMPOSITIONS, defaults=Options())

if __name__ == "__main__":
    COMMAND.run()
