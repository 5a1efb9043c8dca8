"""The domain that docs/domains.md builds from nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from everlearn.domains.contract import Domain
from everlearn.domains.contract_laws import ContractSample, check_domain

PAGE = (Path(__file__).parents[3] / "docs" / "domains.md").read_text(encoding="utf-8")


def test_the_domain_on_the_page_keeps_the_contract() -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(code.splitlines()) < 60
    defined: dict[str, Any] = {}
    exec(code, defined)
    domain = Domain(defined["Capitals"]())
    rows = [("France", "Paris"), ("Peru", "Lima")]
    samples = [
        ContractSample(problem=domain.problem({"statement": country, "reference": city}), answer=city)
        for country, city in rows
    ]
    assert check_domain(domain, samples, entry="capitals") == []
    assert domain.verify(samples[0].problem, "paris ").is_correct
    assert not domain.verify(samples[0].problem, "Lima").is_correct
