"""Text from outside, such as problems, reasons and names, without what could control a terminal."""

from __future__ import annotations

_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)))


def without_controls(text: str) -> str:
    """Return the text without control characters, all but tab and newline: they could rewrite what a terminal shows."""
    return text.translate(_CONTROLS)
