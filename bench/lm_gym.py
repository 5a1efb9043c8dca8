"""What the ladder adds on a task of reasoning-gym and a real language model: `bench.lm_night` on `gym/chain_sum`.

    make cycle-lm                                     # once, for the model in .everlearn/models/smollm2
    pip install 'everlearn[gym]'
    python -m bench.lm_gym --json                     # continues where it was stopped
    python -m bench.lm_gym --rerun ladder,1           # repeat one row and compare it item by item

Roots are sums and differences of six numbers of one digit, in the library's own words; a rung down has a number less,
so that the ladder is five layers deep. The library's score is the only judgement: no reward is judged again. Problems
have no pieces that could be asked alone, so there is no such arm; all variants are the domain's own, so there is no arm
for that. Writes docs/lm_gym.json, .md and .svg.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.learning.arms import ARMS, Options
from bench.learning.command import Command
from bench.learning.subject import Subject
from everlearn.domains.contract import load_domain
from everlearn.domains.gym.dials import SEEDS, DialSetting
from everlearn.settings import FormatSettings, LadderSettings, load

if TYPE_CHECKING:
    import random

PROFILE = load(profile="laptop-lm", environ={})
TASK = "gym/chain_sum"


def draw_sum(rng: random.Random, numbers: int) -> str:
    """Draw a problem of so many numbers of one digit."""
    levels = (("num_terms", numbers - 2), ("num_digits", 0))
    return load_domain(TASK).problem(str(DialSetting(levels=levels, seed=rng.randrange(SEEDS)))).statement


CHAINS = Subject(
    domain=TASK,
    unit="numbers",
    base=str(PROFILE.base.path),
    hard=6,
    longer=7,
    table=(2, 3, 4, 6, 7),
    skills=(2,),
    courses={"course": range(2, 6), "short course": range(2, 4)},
    draw=draw_sum,
    roots=120,
    course_problems=1200,
    threads=PROFILE.threads,
    form=FormatSettings(name="chat", system="Calculate.", answer_prefix="The answer is ", max_tokens=8),
    learn=PROFILE.learn,
    growth=LadderSettings(rungs=720, depth=5, breadth=120, rollouts=2),
)

COMMAND = Command(
    module="bench.lm_gym",
    description=__doc__ or "",
    subject=CHAINS,
    defaults=Options(rollouts=12_000, items=100, skill_items=50, base=CHAINS.base),
    arms=tuple(arm for arm in ARMS if arm not in {"pieces", "variants"}),
)

if __name__ == "__main__":
    COMMAND.run()
