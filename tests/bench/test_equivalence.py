from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench.equivalence import main

if TYPE_CHECKING:
    import pytest


def test_the_last_line_says_that_no_generated_structure_is_merged(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--draws", "60", "--json"])

    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["merged_structures"] == 0
    assert report["slowest_median_ms"] > 0
