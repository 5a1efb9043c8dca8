"""Where no sandbox can be made, the tests of this folder run harmless programs without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from everlearn.domains.programs.sandbox import require_sandbox
from tests.support.sandbox import install_stand_in, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def _any_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if why_not():
            install_stand_in(tmp_path_factory.mktemp("stand-in"), patch)
        yield
    require_sandbox.cache_clear()
