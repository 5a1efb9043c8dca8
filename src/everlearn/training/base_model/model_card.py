"""The model card of the default base: its digest and its measured pass rates.

`python -m everlearn.training.base_model.model_card data/base` measures the model and writes `README.md` next to the weights.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from everlearn.domains.contract import load_domain
from everlearn.training.evaluation import measure
from everlearn.training.models.fingerprint import fingerprints

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZES = (1, 2, 3, 4, 6, 8, 10, 12, 14)
ITEMS = 200
SEED = 20_260_101

CARD = """---
license: apache-2.0
tags: [everlearn, integration, from-scratch]
---
# The default base: short sums only

A Llama of {millions:.2f} M parameters at marked positions (`everlearn.training.models.marked_llama`), made from nothing by
`dvc repro base` (`python -m everlearn.training.base_model.pretrain`, seed 0) on generated antiderivatives of sums of one to three
terms, and on three moves that make a longer sum easier. It has never seen the solution of a longer sum.

For trying Everlearn out and for its tests; it integrates nothing but sums of its eleven families of terms.

Digest (weights, config and tokenizer): `{digest}`

Greedy pass rate on {items} fresh sums of so many terms (`python -m everlearn.training.base_model.model_card`):

```json
{ability}
```
"""


def measure_ability(base: Path, *, sizes: Sequence[int] = SIZES, items: int = ITEMS) -> dict[int, float]:
    """Return the greedy pass rate of the unmodified base model by number of terms."""
    domain = load_domain("integration")
    rates = {}
    for size in sizes:
        rng = random.Random(SEED + size)
        problems = [domain.generate(rng, size=size) for _ in range(items)]
        measurements = measure(base, None, problems, seed=SEED, threads=1)
        rates[size] = sum(each.verdict.is_correct for each in measurements) / items
    return rates


def render_card(*, parameters: int, digest: str, rates: dict[int, float]) -> str:
    """Return the card's text."""
    return CARD.format(millions=parameters / 1e6, digest=digest, items=ITEMS, ability=json.dumps(rates))


def write_card(base: Path, *, parameters: int) -> None:
    """Measure the base and write its card."""
    text = render_card(parameters=parameters, digest=fingerprints(base)[1], rates=measure_ability(base))
    (base / "README.md").write_text(text)


if __name__ == "__main__":
    from everlearn.training.models.policy import load_policy

    directory = Path(sys.argv[1])
    write_card(directory, parameters=sum(tensor.numel() for tensor in load_policy(directory).base_weights.values()))
