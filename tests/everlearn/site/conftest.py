from __future__ import annotations

import pytest

from everlearn.stores.memory import MemoryStore
from tests.eventful import Eventful, fill


@pytest.fixture(scope="session")
def eventful() -> Eventful:
    """A line on which everything has happened; only to be read."""
    return fill(MemoryStore(), items=100)
