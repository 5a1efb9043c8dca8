"""Tables that a bench writes into a page, each between two comments that mark its place."""

from __future__ import annotations

END = "<!-- end -->"


def replace_marked(page: str, name: str, text: str) -> str:
    """Return the page with this text between `<!-- name -->` and the next `<!-- end -->`; as it is without such a place."""
    begin = f"<!-- {name} -->\n"
    before, found, rest = page.partition(begin)
    return before + begin + text + rest[rest.index(END) :] if found else page
