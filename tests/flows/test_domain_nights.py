"""Whole nights on domains that ship, with a tiny random chat model on rows that `everlearn domain generate` makes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from everlearn.cycle.workspace import Workspace
from everlearn.data.generated_problems import generate_problems, write_problems
from everlearn.domains.contract import Domain, load_domain
from everlearn.registry.events import EventKind
from everlearn.registry.manifest import ObjectRef
from everlearn.registry.signing import signer_and_verifier
from everlearn.registry.versions import Registry
from tasks.train import ladder_of
from tests.support.chat_models import write_model
from tests.support.line import Clock, ends_of
from tests.support.sandbox import why_not

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.prefect import Nights

pytestmark = pytest.mark.slow

ENDS = {EventKind.REJECTED, EventKind.INSUFFICIENT, EventKind.PUBLISHED}
SIZES = {"gym/gsm_symbolic": 1}
"""Sizes of problems, where it is not 3: a task without dials has one size."""


@pytest.fixture(params=["equations", "programs", "gym/chain_sum", "gym/leg_counting", "gym/gsm_symbolic"])
def domain(request: pytest.FixtureRequest) -> Domain:
    """A domain that is installed, and can judge here."""
    if request.param == "programs" and why_not():
        pytest.skip(why_not())
    return load_domain(request.param)


def write_rows(domain: Domain, folder: Path) -> None:
    """Write rows of a night and a skill suite, as `everlearn domain generate` does."""
    size = SIZES.get(domain.name, 3)
    for of_integration in (folder / "new" / "a.jsonl", folder / "data" / "suites" / "short.jsonl"):
        of_integration.unlink()
    write_problems(generate_problems(domain, count=24, size=size, seed=0), folder / "new" / "b.jsonl")
    easy = generate_problems(domain, count=12, size=min(size, 2), seed=1)
    write_problems(easy, folder / "data" / "suites" / "easy.jsonl", suite="easy")


def test_a_night_on_it_ends_with_a_verdict_of_the_gate(domain: Domain, nights: Nights) -> None:
    line = domain.name.replace("/", "-")
    write_rows(domain, nights.folder)

    ran = nights.run(
        line=line,
        domain=domain.name,
        base={"path": write_model(nights.folder / "model")},
        format={"name": "chat", "max_tokens": 16},
        ladder={"rungs": 30, "depth": 1, "breadth": 4, "tries": 2, "rollouts": 2},
        certification={"uncertified": "train on unproved rewards"},
    )

    assert ran.code == 0, ran.stderr[-3000:]
    store = nights.server.store(nights.bucket)
    signer, verifier = signer_and_verifier(key_file=nights.folder / "none.pem", trusted=(), unsigned=True)
    registry = Registry(store, line, clock=Clock(), signer=signer, verifier=verifier)
    assert ends_of(registry) in [[end] for end in ENDS]
    work = Workspace(store, line, str(ran.ended["cycle_key"]))
    rungs = [rung for rung in ladder_of(work, "ladder after").rungs.values() if rung.parent]
    assert {rung.move for rung in rungs} <= set(domain.moves)
    assert bool(rungs) == domain.has_moves, "the domain's own moves make the ladder"
    page = registry.get_object(ObjectRef(**json.loads(work.get("report")))).decode()
    assert "is certified: " in page or "Trained on unproved rewards of " in page
