"""The suite of Great Expectations that a night's rows have to meet, as code.

Each expectation is one column's share of good rows; the last one is the share of rows with no fault at all, so that
many small faults cannot add up unseen. The decision needs counts only (SUMMARY); row numbers are asked for only where
rows go to quarantine. Nothing is sent home, and no project folder is made: the context lives in memory.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.data.rows import Row

SUITE = "new-problems"
COLUMNS = ("where", "id", "domain", "statement", "canonical", "fault")


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What the suite found: `bad` holds the row numbers for quarantine, `result` Great Expectations' own record."""

    success: bool
    rows: int
    bad: tuple[int, ...]
    result: Any

    @property
    def bad_share(self) -> float:
        """Share of rows with a fault."""
        return len(self.bad) / self.rows if self.rows else 0.0


def validate_rows(rows: Sequence[Row], *, domains: Sequence[str], max_bad_share: float, max_length: int) -> Validation:
    """Run the suite over the rows."""
    batch, parameters, definition = _defined(rows, domains, 1 - max_bad_share, max_length)
    result = definition.run(batch_parameters=parameters, result_format="SUMMARY")
    bad: tuple[int, ...] = ()
    if not all(_is_clean(each.result) for each in result.results):
        complete = {"result_format": "COMPLETE", "include_unexpected_rows": False}
        found = batch.get_batch(batch_parameters=parameters).validate(_no_fault(), result_format=complete)
        bad = tuple(found.result["unexpected_index_list"])
    return Validation(success=bool(result.success), rows=len(rows), bad=bad, result=result)


def _defined(rows: Sequence[Row], domains: Sequence[str], share: float, max_length: int) -> tuple[Any, Any, Any]:
    """The batch definition, its parameters and the validation definition, in a context that lives in memory."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read when the library is imported
    import great_expectations as gx
    import pandas as pd
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    frame = pd.DataFrame(
        [[getattr(row, name) for name in COLUMNS] for row in rows], columns=list(COLUMNS), dtype=object
    )
    batch = (
        context.data_sources.add_pandas("night").add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")
    )
    suite = context.suites.add(gx.ExpectationSuite(name=SUITE, expectations=_expectations(domains, share, max_length)))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=SUITE, data=batch, suite=suite))
    return batch, {"dataframe": frame}, definition


def _expectations(domains: Sequence[str], share: float, max_length: int) -> list[Any]:
    gxe = _vocabulary()

    return [
        gxe.ExpectTableColumnsToMatchSet(column_set=list(COLUMNS), exact_match=True),
        gxe.ExpectTableRowCountToBeBetween(min_value=1),
        gxe.ExpectColumnValuesToNotBeNull(column="statement", mostly=share, description="A line holds a problem"),
        gxe.ExpectColumnValueLengthsToBeBetween(column="statement", min_value=1, max_value=max_length, mostly=share),
        gxe.ExpectColumnValuesToBeInSet(column="domain", value_set=sorted(domains), mostly=share),
        gxe.ExpectColumnValuesToNotBeNull(column="canonical", mostly=share, description="It is inside the grammar"),
        _no_fault(mostly=share),
    ]


def _no_fault(**terms: Any) -> Any:
    gxe = _vocabulary()

    return gxe.ExpectColumnValuesToBeNull(column="fault", description="A row has no fault at all", **terms)


def _vocabulary() -> Any:
    """Great Expectations' own expectations, which it offers without saying so to a type checker."""
    import great_expectations as gx

    return gx.expectations


def _is_clean(result: dict[str, Any]) -> bool:
    return not result.get("unexpected_count", 0)
