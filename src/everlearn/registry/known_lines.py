"""Lines that a bucket holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.errors import BadInputError, StoreError

if TYPE_CHECKING:
    from everlearn.storage.protocol import Store

HEAD = "/HEAD"


def known_lines(store: Store) -> list[str]:
    """Return the lines that have a history, sorted. Lists the whole bucket."""
    return sorted(info.key.removesuffix(HEAD) for info in store.list() if info.key.endswith(HEAD))


def require_known_line(store: Store, line: str) -> None:
    """Refuse a line of which the bucket holds nothing, unless it holds no other line either.

    A line begins with its first night, or with the first object below its name, such as problems in its inbox.

    Raises:
        BadInputError: the line is unknown. The message names those that exist.
    """
    if next(iter(store.list(f"{line}/")), None) is not None:
        return
    try:
        others = known_lines(store)
    except StoreError:  # these credentials may read one line only
        return
    if others:
        raise BadInputError(
            f"the bucket holds nothing of line {line!r}; its lines are: {', '.join(others)}. Correct store.line, or begin "
            "a new line with `everlearn cycle`"
        )
