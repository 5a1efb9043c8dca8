"""Manifests for tests: typical, minimal, and a strategy for any valid one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import strategies as st

from everlearn.data.suites import SuiteKind
from everlearn.gate.decision_record import Against, Decision, Outcome, SuiteRow
from everlearn.registry.manifest import Manifest, ObjectRef
from everlearn.registry.provenance import BuildRun
from tests.support.line import BASE_MODEL, WHEN


def row(against: Against) -> SuiteRow:
    return SuiteRow(
        suite="tonight",
        kind=SuiteKind.TARGET,
        against=against,
        n=200,
        before=0.1,
        after=0.6,
        won=104,
        lost=4,
        undecided=0,
        low=0.4,
        high=0.55,
        margin=0.05,
        bound=-0.4,
        p_value=1e-9,
        power=0.9,
        outcome=Outcome.PASS,
        sentence="104 won, 4 lost of 200",
    )


DECISION = Decision(outcome=Outcome.PASS, reasons=("better",), rows=(row(Against.PARENT), row(Against.BASE)))
FILES = {
    "adapter_model.safetensors": ObjectRef(digest="a" * 64, size=3),
    "adapter_config.json": ObjectRef(digest="e" * 64, size=2),
}
MANIFEST = Manifest(
    files=FILES,
    base_fingerprint=BASE_MODEL,
    parent="v0001",
    cycle_key="c" * 64,
    data_digest="d" * 64,
    config={"domain": "integration", "base": {"path": "data/base"}, "learn": {"seed": 7, "bf16": None}},
    code_version="0.1.0",
    created=WHEN + timedelta(hours=1),
    decision=DECISION.to_dict(),
    report=ObjectRef(digest="f" * 64, size=9),
)
RUN = BuildRun(line="integration", started=WHEN, parent_manifest="9" * 64, commit="1" * 40, licence="apache-2.0")
FIRST = replace(MANIFEST, parent=None, report=None, decision={}, config={})  # without any optional fact
ALONE = BuildRun(line="integration", started=WHEN)
Night = tuple[Manifest, BuildRun]

DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
_REFS = st.builds(ObjectRef, digest=DIGESTS, size=st.integers(0, 2**40))
_NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}\.(safetensors|json|md)", fullmatch=True)
_TEXT = st.text(st.characters(codec="utf-8"))
_NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
_JSON = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)
_MANIFESTS = st.builds(
    Manifest,
    files=st.dictionaries(_NAMES, _REFS, min_size=1, max_size=5),
    base_fingerprint=DIGESTS,
    parent=st.none() | st.just("v0003"),
    cycle_key=DIGESTS,
    data_digest=DIGESTS,
    config=st.dictionaries(st.sampled_from(["learn", "gate", "ladder"]), _JSON, max_size=3),
    code_version=st.just("0.1.0"),
    created=st.datetimes(timezones=st.just(WHEN.tzinfo)),
    decision=st.sampled_from([{}, DECISION.to_dict()]),
    report=st.none() | _REFS,
)
_RUNS = st.builds(
    BuildRun,
    line=st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True),
    started=st.datetimes(timezones=st.just(WHEN.tzinfo)),
    parent_manifest=DIGESTS,
    commit=st.none() | st.just("1" * 40),
    licence=st.none() | st.sampled_from(["apache-2.0", "mit"]),
)

NIGHTS = st.tuples(_MANIFESTS, _RUNS).map(
    lambda night: night if night[0].parent else (night[0], replace(night[1], parent_manifest=None))
)


def backwards(manifest: Manifest) -> Manifest:
    """Return an equal manifest whose mappings have the reverse order."""
    files, config, decision = (
        dict(reversed(each.items())) for each in (manifest.files, manifest.config, manifest.decision)
    )
    return replace(manifest, files=files, config=config, decision=decision)
