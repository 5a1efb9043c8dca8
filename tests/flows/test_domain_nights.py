"""Whole nights on domains that ship, with a tiny random chat model on rows that `everlearn domain generate` makes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.cycle.workspace import Workspace
from everlearn.data import suites
from everlearn.data.generated_problems import generate_problems, write_problems
from everlearn.data.suites import SuiteKind
from everlearn.domains.contract import Domain, load_domain
from everlearn.gate.decision_record import Against, Decision
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
    """Write rows of a night and a skill suite, as `everlearn domain generate` does; each domain has files of its own."""
    size, name = SIZES.get(domain.name, 3), domain.name.replace("/", "-")
    write_problems(generate_problems(domain, count=24, size=size, seed=0), folder / "new" / f"{name}.jsonl")
    easy = generate_problems(domain, count=12, size=min(size, 2), seed=1)
    write_problems(easy, folder / "data" / "suites" / f"easy-{name}.jsonl", suite=f"easy-{name}")


def run_night(nights: Nights, *domains: Domain, **changes: Any) -> tuple[Registry, Workspace]:
    """Run a night on the rows of these domains; return its registry and its workspace."""
    for of_integration in (nights.folder / "new" / "a.jsonl", nights.folder / "data" / "suites" / "short.jsonl"):
        of_integration.unlink()
    for domain in domains:
        write_rows(domain, nights.folder)
    line = "-".join(domain.name.replace("/", "-") for domain in domains)
    ran = nights.run(
        line=line,
        domain="+".join(domain.name for domain in domains),
        base={"path": write_model(nights.folder / "model")},
        format={"name": "chat", "max_tokens": 16},
        ladder={"rungs": 30, "depth": 1, "breadth": 4, "tries": 2, "rollouts": 2},
        **changes,
    )
    assert ran.code == 0, ran.stderr[-3000:]
    store = nights.server.store(nights.bucket)
    signer, verifier = signer_and_verifier(key_file=nights.folder / "none.pem", trusted=(), unsigned=True)
    registry = Registry(store, line, clock=Clock(), signer=signer, verifier=verifier)
    return registry, Workspace(store, line, str(ran.ended["cycle_key"]))


def page_of(registry: Registry, work: Workspace) -> str:
    return registry.get_object(ObjectRef(**json.loads(work.get("report")))).decode()


def test_a_night_on_it_ends_with_a_verdict_of_the_gate(domain: Domain, nights: Nights) -> None:
    registry, work = run_night(nights, domain, certification={"uncertified": "train on unproved rewards"})
    assert ends_of(registry) in [[end] for end in ENDS]
    rungs = [rung for rung in ladder_of(work, "ladder after").rungs.values() if rung.parent]
    assert {rung.move for rung in rungs} <= set(domain.moves)
    assert bool(rungs) == domain.has_moves, "the domain's own moves make the ladder"
    page = page_of(registry, work)
    assert "is certified: " in page or "Trained on unproved rewards of " in page


def test_a_night_on_a_mixture_has_suites_and_rows_of_the_gate_for_each_domain(nights: Nights) -> None:
    domains = [load_domain(name) for name in ("arithmetic", "equations")]
    mixed = load_domain("arithmetic+equations")
    other = generate_problems(load_domain("integration"), count=3, size=2, seed=0)
    write_problems(other, nights.folder / "data" / "suites" / "other.jsonl", suite="other")
    registry, work = run_night(nights, *domains, ingest={"min_target_items": 24})

    assert ends_of(registry) in [[end] for end in ENDS]
    decision = Decision.from_dict(json.loads(work.get("decision")))
    kinds = {row.suite: row.kind for row in decision.rows if row.against is Against.PARENT}
    for domain in domains:
        assert kinds[f"target-{domain.name}"] is SuiteKind.TARGET
        assert kinds[f"fillers-{domain.name}"] is SuiteKind.GENERATED
        assert kinds[f"easy-{domain.name}"] is SuiteKind.SKILL
    assert len(kinds) == 6, "the suite of another domain is left out"
    for path in work.get_tree("suites", nights.folder / "frozen").iterdir():
        items = suites.load(path).problems
        assert {f"{path.stem.partition('-')[0]}-{mixed.part(item.statement)}" for item in items} == {path.stem}

    rungs = ladder_of(work, "ladder after").rungs
    variants = [rung for rung in rungs.values() if rung.parent]
    assert {mixed.part(rung.statement) for rung in variants} == {*mixed.parts}, "each domain has a ladder"
    assert all(mixed.part(rung.statement) == mixed.part(rungs[str(rung.parent)].statement) for rung in variants)
    page = page_of(registry, work)
    assert all(f"The verifier of {domain.name} is certified: " in page for domain in domains)
    assert all(name in page for name in kinds)
