"""Show a night and the history of its line in the dashboard, as Prefect artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from everlearn.orchestration.artifact_keys import artifact_key
from everlearn.registry.connect import open_registry, open_retrying_store, open_store
from everlearn.reporting.history_table import history_markdown
from everlearn.reporting.night_record import NightRecord
from everlearn.reporting.report import gate_rows, headline, summary_markdown
from everlearn.storage.immutable_objects import object_key
from tasks.decide import decision_of
from tasks.night import step_task
from tasks.write_report import report_of

if TYPE_CHECKING:
    from everlearn.settings import Settings
    from tasks.night import Night


@step_task
def show_night(night: Night) -> None:
    """Show the night in the dashboard: summary, gate table, and a link to the report."""
    record = NightRecord.from_json(night.work.get("record"))
    create_markdown_artifact(
        key=artifact_key("night", line=night.line), markdown=summary_markdown(record), description=headline(record)
    )
    create_table_artifact(
        key=artifact_key("gate", line=night.line),
        table=gate_rows(decision_of(night)),
        description="Measurements of the gate",
    )
    key = object_key(night.line, report_of(night).digest)
    link = open_store(night.settings.store).presigned_url(key, content_type="text/html")
    create_link_artifact(
        key=artifact_key("report", line=night.line),
        link=link,
        link_text="The night's report",
        description="Valid for 7 days",
    )


@step_task
def show_history(settings: Settings) -> None:
    """Show the newest events of the line as a table in the dashboard. The table keeps its key from night to night."""
    line, store = settings.store.line, open_retrying_store(settings.store)
    state = open_registry(settings, store=store).state()
    create_markdown_artifact(
        key=artifact_key("history", line=line),
        markdown=history_markdown(state, line=line),
        description=f"History of line {line}",
    )
