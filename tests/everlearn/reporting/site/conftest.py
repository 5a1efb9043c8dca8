from __future__ import annotations

import pytest

from everlearn.storage.in_memory import MemoryStore
from tests.support.eventful import Eventful, fill


@pytest.fixture(scope="session")
def eventful() -> Eventful:
    """A line with every kind of event, shared and read-only."""
    return fill(MemoryStore(), items=100)
