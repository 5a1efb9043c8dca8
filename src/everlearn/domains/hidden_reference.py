"""The hidden reference of a problem: read it from a row, and keep it out of verdicts and messages of a plug-in."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from everlearn.errors import GrammarError
from everlearn.problem import REFERENCE_FIELD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MASK = "(hidden)"


def reference_in(fields: Mapping[str, Any], *, names: Iterable[str] = (REFERENCE_FIELD,)) -> dict[str, str]:
    """Return `{"reference": text}` from the first of the fields that has a value, else nothing. Values that are no text become JSON."""
    for value in map(fields.get, names):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
        if value is not None and text.strip():
            return {REFERENCE_FIELD: text.encode(errors="replace").decode()}
    return {}


def hide_reference(text: str, reference: str | None) -> str:
    """Return the text with the reference masked, as it is written and as Python shows it."""
    if not reference or not reference.strip():
        return text
    for written in dict.fromkeys((reference, repr(reference)[1:-1], reference.strip())):
        text = text.replace(written, MASK)
    return text


@contextlib.contextmanager
def hiding_reference(reference: str | None) -> Iterator[None]:
    """Mask the reference in the message of a GrammarError."""
    try:
        yield
    except GrammarError as error:
        raise GrammarError(hide_reference(str(error), reference)) from None
