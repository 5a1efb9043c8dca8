from __future__ import annotations

from everlearn.telemetry.plain_text import without_controls


def test_control_characters_are_left_out_and_all_else_stays() -> None:
    assert without_controls("a\x1b[2J\x00\x7f\x9b\rb\tc\nä ∫ 🔛") == "a[2Jb\tc\nä ∫ 🔛"
