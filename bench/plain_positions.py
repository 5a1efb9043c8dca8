"""What the demo's notation does: `bench.learning` on a base whose rotary positions count tokens instead of following markers.

    python -m everlearn.training.base_model.pretrain --positions plain --out .everlearn/models/plain-positions
    python -m bench.plain_positions                      # every arm, three seeds; continues where it was stopped
    python -m bench.plain_positions --rerun ladder,1     # repeat one row and compare it item by item

The default base stands a term and its antiderivative at the same positions (`marked_llama`), which helps to copy terms
of sums longer than any in its pretraining. Here everything but the positions is the same: data, steps, seed, notation,
problems, arms. Writes docs/plain_positions.json, .md and .svg.
"""

from __future__ import annotations

from bench.learning.arms import Options
from bench.learning.command import Command
from bench.learning.subject import PLAIN_POSITIONS

COMMAND = Command(
    module="bench.plain_positions",
    description=__doc__ or "",
    subject=PLAIN_POSITIONS,
    defaults=Options(base=PLAIN_POSITIONS.base),
    arms=("ladder", "filtered", "course", "pieces"),
)

if __name__ == "__main__":
    COMMAND.run()
