"""Veto of each earlier night's memory, where the memory of all nights is compared with the record as one suite.

Together, the gain of many nights hides that one was forgotten, and few items widen the margin. A night's own items
cannot show that nothing was lost, but they can show that much was. So a candidate is rejected where more than
`veto_margin` is proved to be lost on the items of one night.

The proof is an e-process like that of `loss_evidence`, against "at most the margin was lost": the product over items of
1 + s (W - wrong), where W is 1 for an answer that is not right, and `wrong` the recorded share of such answers with the
margin added, more of it where more was right. If no more than that was lost, its expectation is at most 1. All nights
together have a small share of the probability of stopping an unchanged model (`VETO_SHARE`), divided equally, so that
by Ville's inequality a candidate that equals the record meets a veto at any look with at most that probability.
"""

from __future__ import annotations

from math import inf, log
from typing import TYPE_CHECKING

import numpy as np

from everlearn.gate.loss_evidence import LossEvidence
from everlearn.gate.record_of_line import read_look

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.gate.record_of_line import RecordedItem

Parts = tuple[tuple[str, int], ...]
"""Name and number of items of each night's memory, in the order of the items of the whole."""
VETO_SHARE = 0.2
"""Part of a guard's probability of stopping an unchanged model that its vetoes may use."""
SUSPICION = log(4)
"""Log of the evidence of a loss from which a suite that would pass is looked at once more."""
_AIM = 0.25
"""Loss beyond the margin for which the stakes are about best: a night that is mostly forgotten."""


def lost_in(
    parts: Parts, recorded: Sequence[RecordedItem], looks: Sequence[str], *, margin: float, variance: float
) -> dict[str, float]:
    """Return for each night the log of the evidence that more than the margin was lost; `UNDECIDED` counts against it."""
    found, start = {}, 0
    for name, items in parts:
        own = slice(start, start + items)
        found[name] = _evidence(recorded[own], [look[own] for look in looks], margin=margin, variance=variance)
        start += items
    return found


def _evidence(recorded: Sequence[RecordedItem], looks: Sequence[str], *, margin: float, variance: float) -> float:
    certain = np.array([item.share - item.doubted for item in recorded])
    if certain.mean() <= margin:
        return -inf  # so much cannot be lost
    left = certain * (1 - margin / certain.mean())
    evidence = LossEvidence(left, sizes=np.ones(len(left)), margin=_AIM, variance=variance)
    for look in looks:
        right, undecided = read_look(look)
        evidence.add(right, undecided=undecided)
    return float(evidence.log_worse[0])
