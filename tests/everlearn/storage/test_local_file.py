"""Local files are whole, whoever else writes or reads them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from everlearn.storage.local_file import write_whole

if TYPE_CHECKING:
    from pathlib import Path


def test_many_writers_of_one_file_leave_the_bytes_of_one_of_them(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    texts = [bytes([65 + number]) * 50_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda data: write_whole(path, data), texts)) == {path}
    assert path.read_bytes() in texts
    assert list(path.parent.iterdir()) == [path], "nothing else is left"


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "file", b"old")
    with pytest.raises(TypeError):
        write_whole(path, "a text")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
