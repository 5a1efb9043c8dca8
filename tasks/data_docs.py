"""Data Docs of Great Expectations as one self-contained page, without external style sheets, scripts, fonts or images.

The library's own page links a dozen of them and has no style without a network. They are removed, and a short style
sheet is inserted.
"""

from __future__ import annotations

import copy
import html
import re
from typing import Any

_STYLE = """<style>
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 0 auto; padding: 1rem; }
nav, .navbar, .ge-breadcrumbs, .fixed-bottom, .modal, .cooltip, #ge-cta-footer, button, .btn { display: none; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #8885; padding: .35rem .6rem; text-align: left; vertical-align: top; }
h1, h2, h3, h4, h5 { font-size: 1.05rem; margin: 1rem 0 .3rem; }
.badge { border: 1px solid #8888; border-radius: .3rem; padding: 0 .35rem; }
.status-success, .text-success, .fa-check-circle { color: #1a7f37; }
.status-danger, .text-danger, .fa-times { color: #cf222e; }
.fa-check-circle::before { content: "\\2713"; }
.fa-times::before { content: "\\2717"; }
ul { padding-left: 1.2rem; }
</style>"""
_EXTERNAL = (
    re.compile(r"<script\b.*?</script\s*>", re.DOTALL | re.IGNORECASE),
    re.compile(r"<style\b.*?</style\s*>", re.DOTALL | re.IGNORECASE),
    re.compile(r"<link\b[^>]*>", re.IGNORECASE),
    re.compile(r"<img\b[^>]*>", re.IGNORECASE),
    re.compile(r'<a\b[^>]*href="https?://[^>]*>.*?</a\s*>', re.DOTALL | re.IGNORECASE),
)


def data_docs(result: Any) -> str:
    """Return the HTML page of one validation result. Values are escaped here, because the library does not escape them."""
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView

    view: Any = DefaultJinjaPageView()
    page: str = view.render(ValidationResultsPageRenderer().render(_escaped_result(result)))
    for pattern in _EXTERNAL:
        page = pattern.sub("", page)
    return page.replace("</head>", f"{_STYLE}</head>", 1)


def _escaped_result(result: Any) -> Any:
    escaped = copy.deepcopy(result)
    for outcome in escaped.results:
        outcome.result = _escaped(outcome.result)
    return escaped


def _escaped(value: Any) -> Any:
    """Return the value with all strings in it escaped for HTML."""
    if isinstance(value, str):
        return html.escape(value)
    if isinstance(value, dict):
        return {name: _escaped(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return value
