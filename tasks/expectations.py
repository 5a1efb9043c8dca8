"""The expectation suite of Great Expectations for new rows, as code.

Each expectation states the share of rows that meets one criterion. The last one covers every fault, so that many rows
with different faults cannot pass unnoticed. The suite runs with counts only (SUMMARY); row numbers are requested only
if there are rows to quarantine. The context lives in memory, and analytics are off.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from everlearn.data.acceptance import min_good_share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.data.acceptance import AcceptanceCriteria
    from everlearn.data.rows import Row

SUITE = "new-problems"
COLUMNS = ("where", "id", "domain", "statement", "canonical", "fault")


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Result of the suite. `bad` holds the indices of rows with a fault, `result` the library's own record."""

    success: bool
    bad: tuple[int, ...]
    result: Any


def validate_rows(rows: Sequence[Row], *, criteria: AcceptanceCriteria) -> Validation:
    """Run the suite over the rows."""
    batch, parameters, definition = _define(rows, criteria)
    result = definition.run(batch_parameters=parameters, result_format="SUMMARY")
    bad: tuple[int, ...] = ()
    if any(outcome.result.get("unexpected_count", 0) for outcome in result.results):
        complete = {"result_format": "COMPLETE", "include_unexpected_rows": False}
        outcome = batch.get_batch(batch_parameters=parameters).validate(_no_fault(), result_format=complete)
        bad = tuple(outcome.result["unexpected_index_list"])
    return Validation(success=bool(result.success), bad=bad, result=result)


def _define(rows: Sequence[Row], criteria: AcceptanceCriteria) -> tuple[Any, dict[str, Any], Any]:
    """Return batch definition, batch parameters and validation definition, in a context in memory."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read when the library is imported
    import great_expectations as gx
    import pandas as pd
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    frame = pd.DataFrame(
        [[getattr(row, name) for name in COLUMNS] for row in rows], columns=list(COLUMNS), dtype=object
    )
    asset = context.data_sources.add_pandas("night").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all")
    suite = context.suites.add(gx.ExpectationSuite(name=SUITE, expectations=_expectations(criteria)))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=SUITE, data=batch, suite=suite))
    return batch, {"dataframe": frame}, definition


def _expectations(criteria: AcceptanceCriteria) -> list[Any]:
    gxe = _expectation_types()
    share, longest = min_good_share(criteria.max_bad_share), criteria.max_statement_chars
    return [
        gxe.ExpectTableColumnsToMatchSet(column_set=list(COLUMNS), exact_match=True),
        gxe.ExpectTableRowCountToBeBetween(min_value=1),
        gxe.ExpectColumnValuesToNotBeNull(column="statement", mostly=share, description="A line holds a problem"),
        gxe.ExpectColumnValueLengthsToBeBetween(column="statement", min_value=1, max_value=longest, mostly=share),
        gxe.ExpectColumnValuesToBeInSet(column="domain", value_set=sorted(criteria.domains), mostly=share),
        gxe.ExpectColumnValuesToNotBeNull(column="canonical", mostly=share, description="It is inside the grammar"),
        _no_fault(mostly=share),
    ]


def _no_fault(**options: Any) -> Any:
    types = _expectation_types()
    return types.ExpectColumnValuesToBeNull(column="fault", description="A row has no fault at all", **options)


def _expectation_types() -> Any:
    """Return the module of the library's expectations, which it does not export to type checkers."""
    import great_expectations as gx

    return gx.expectations
