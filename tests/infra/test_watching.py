"""Dashboard, alerts and scrape configuration: valid, and limited to metrics that are exported."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from everlearn.cycle.record import End
from everlearn.telemetry.line_health import GatedNight, LineHealth, StepUsage, SuiteRate
from everlearn.telemetry.prometheus import CachedQuery, LineCollector, QueueStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

INFRA = Path(__file__).parents[2] / "infra"
DASHBOARD: dict[str, Any] = json.loads((INFRA / "grafana" / "everlearn.json").read_text(encoding="utf-8"))
ALERTS: list[dict[str, Any]] = yaml.safe_load((INFRA / "prometheus-rules.yml").read_text())["groups"][0]["rules"]
PANELS = {panel["title"]: [target["expr"] for target in panel["targets"]] for panel in DASHBOARD["panels"]}
QUERIES = {**PANELS, **{rule["alert"]: [rule["expr"]] for rule in ALERTS}}
OF_PROMETHEUS = {"up"}
EVERYTHING = LineHealth(
    champion=2,
    versions=3,
    barred=1,
    verdicts=dict.fromkeys(End, 1),
    rollbacks=1,
    since_verdict=60.0,
    open_age=5.0,
    lease_age=1.0,
    last_night=GatedNight(
        end=End.PUBLISHED,
        steps=(StepUsage(name="train", seconds=10.0, cpu_seconds=9.0, rollouts=100, verdicts=90),),
        rates=(SuiteRate(suite="target", kind="target", against="parent", before=0.1, after=0.8),),
    ),
)
QUEUE = QueueStatus(wait_s=3.0, oldest_s=0.0, waiting=0, late=0, running=1)


def exported() -> dict[str, set[str]]:
    """Return the name of every sample with the names of its labels."""
    metrics = LineCollector("math", health=CachedQuery(lambda: EVERYTHING), queue=CachedQuery(lambda: QUEUE))
    return {sample.name: set(sample.labels) for family in metrics.collect() for sample in family.samples}


def selectors(parsed: Any) -> Iterator[Any]:
    """Yield the vector selectors in a query."""
    if isinstance(parsed, promql_parser.VectorSelector):
        yield parsed
    for part in ("lhs", "rhs", "expr", "vector_selector"):
        if (inner := getattr(parsed, part, None)) is not None:
            yield from selectors(inner)
    for argument in getattr(parsed, "args", None) or ():
        yield from selectors(argument)


def selected(query: str) -> list[tuple[str, set[str]]]:
    """Return the metrics in a query, each with the labels of its selector."""
    parsed = promql_parser.parse(query.replace("$line", "math"))
    found = [(each.name, {one.name for one in each.matchers.matchers}) for each in selectors(parsed)]
    assert {name for name, _ in found} >= set(re.findall(r"everlearn_\w+", query))  # no metric was missed
    return found


@pytest.mark.parametrize("title", QUERIES)
def test_queries_use_exported_metrics_and_labels(title: str) -> None:
    samples = exported()
    for query in QUERIES[title]:
        for name, labels in selected(query):
            assert name in samples or name in OF_PROMETHEUS
            assert labels <= samples.get(name, {"job"})


def test_every_metric_is_shown_somewhere() -> None:
    shown = {name for queries in PANELS.values() for query in queries for name, _ in selected(query)}
    assert shown == set(exported())


def test_the_dashboard_survives_grafanas_model_unchanged() -> None:
    plugins.register_default_plugins()
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(DASHBOARD)))
    assert not list(lost(DASHBOARD, read))


def lost(ours: Any, theirs: Any, place: str = "") -> Iterator[str]:
    """Yield the values of the dashboard that the model loses."""
    if isinstance(ours, dict):
        for name, value in ours.items():
            yield from lost(value, theirs.get(name, "nothing"), f"{place}/{name}")
    elif isinstance(ours, list):
        for number, value in enumerate(ours):
            yield from lost(value, theirs[number], f"{place}/{number}")
    elif ours != theirs:
        yield f"{place}: {ours!r} is {theirs!r}"


def test_panels_do_not_overlap_and_have_descriptions() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert all(x < 24 for x, _ in cells)
        assert panel["description"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_26_hours_without_a_verdict_raise_an_alert() -> None:
    [panel] = [each for each in DASHBOARD["panels"] if each["title"] == "Since the last verdict"]
    assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1] == {"color": "red", "value": 26 * 3600}
    [alert] = [each for each in ALERTS if each["alert"] == "EverlearnNoVerdict"]
    assert alert["expr"] == "everlearn_seconds_since_verdict > 26 * 3600"
    automations = yaml.safe_load((INFRA / "automations.yaml").read_text(encoding="utf-8"))
    assert 26 * 3600 in [each["trigger"]["within"] for each in automations]


def test_every_alert_has_a_summary_and_a_description() -> None:
    for alert in ALERTS:
        assert alert["labels"]["severity"] in {"page", "warn"}
        assert set(alert["annotations"]) == {"summary", "description"}


def test_prometheus_scrapes_the_exporter_of_the_compose_file() -> None:
    config = yaml.safe_load((INFRA / "prometheus.yml").read_text(encoding="utf-8"))
    compose = yaml.safe_load((INFRA / "compose.yaml").read_text(encoding="utf-8"))
    assert [(INFRA / name).exists() for name in config["rule_files"]] == [True]
    [target] = config["scrape_configs"][0]["static_configs"][0]["targets"]
    name, port = target.split(":")
    assert compose["services"][name]["command"][-1] == port
    assert config["scrape_configs"][0]["job_name"] == "everlearn"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus is not installed")
def test_promtool_accepts_configuration_and_rules() -> None:
    done = subprocess.run(["promtool", "check", "config", INFRA / "prometheus.yml"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
