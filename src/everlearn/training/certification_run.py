"""Certify a domain: attack its verifier with answers, then with a model that learns, within a limit of time."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from everlearn.domains.certification.attack_trial import AttackTrial, MadeSamples, samples_to_attack
from everlearn.domains.certification.certificate import NO_MODEL, certificate_of
from everlearn.domains.certification.code_version import code_version
from everlearn.errors import BadInputError
from everlearn.training.verifier_attack import attack_by_learning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everlearn.domains.certification.certificate import Certificate
    from everlearn.domains.contract import Domain
    from everlearn.domains.contract_laws import ContractSample
    from everlearn.settings import CertificationSettings

LOG = logging.getLogger("everlearn.learn")
SECONDS = 300.0
"""Wall-clock seconds for a certificate. What is not shown within them is not allowed."""
LEARNING_S = 60.0
"""CPU seconds for which a model is trained against the verifier, of these."""
MAKING = 0.2
"""Largest share of the time for making problems."""


def certify(
    domain: Domain,
    given: Sequence[ContractSample] = (),
    *,
    seconds: float = SECONDS,
    learning_s: float = LEARNING_S,
    enough: int | None = None,
    limits: CertificationSettings | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Certificate:
    """Return the certificate of a domain's present code.

    Args:
        domain: the domain. Its verifier is called in processes that can be killed.
        given: problems with right answers; without any, the domain generates some.
        seconds: for everything.
        learning_s: CPU seconds of the learned attack; 0 leaves it out, so that the certificate allows no training.
        enough: wrong answers after which the attack ends; None: `attack_trial.ENOUGH`.
        limits: what the certificate has to show; None: the defaults. Where the answers alone break them, no model is trained.
        progress: called with the number of wrong answers tried, and their goal.

    Raises:
        BadInputError: there are no problems to try it on.
    """
    started = time.monotonic()
    code = code_version(domain)
    made = MadeSamples(samples=[_with_answer(domain, sample) for sample in given])
    made = made if given else samples_to_attack(domain, seconds=MAKING * seconds)
    samples = made.samples
    if not samples and not made.fault:
        raise BadInputError(f"domain {domain.name} generates no problems: name a file of rows with --problems")
    options = {} if enough is None else {"enough": enough}
    left = max(1.0, seconds - 1.5 * learning_s - (time.monotonic() - started))
    result = AttackTrial(domain, samples, seconds=left, progress=progress, **options).run()
    result.unmade = made.fault
    found = certificate_of(
        result,
        domain=domain.name,
        code=code,
        created=datetime.now(tz=UTC).isoformat(timespec="seconds"),
        everlearn=version("everlearn"),
        seconds=time.monotonic() - started,
        learned=None,
    )
    if not learning_s or found.refusals(limits) != (NO_MODEL,):
        return found
    LOG.info("training a small model against the verifier for %.0f CPU seconds", learning_s)
    wall_s = max(learning_s, seconds - (time.monotonic() - started))
    learned = attack_by_learning(domain, samples, seconds=learning_s, wall_s=wall_s)
    return replace(found, learned=learned, seconds=round(time.monotonic() - started, 1))


def _with_answer(domain: Domain, sample: ContractSample) -> ContractSample:
    return sample if sample.answer is not None else replace(sample, answer=domain.solve(sample.problem))
