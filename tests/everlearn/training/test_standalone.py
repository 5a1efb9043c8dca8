"""The training package on a machine that has a GPU and little else."""

from __future__ import annotations

import subprocess
import sys

import pytest

ABSENT = ("prefect", "dvc", "great_expectations", "boto3", "typer", "rich")
IMPORTS = f"""
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = classmethod(
    lambda cls, name, *rest: None if name.split(".")[0] in {ABSENT} else find(name, *rest)
)
import everlearn.training.evaluation, everlearn.training.ladder_growth, everlearn.training.trainer, bench.gpu
print(sorted({{name.split(".")[0] for name in sys.modules}} & set({ABSENT})))
"""


@pytest.mark.slow
def test_a_training_needs_no_prefect_dvc_or_great_expectations() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
