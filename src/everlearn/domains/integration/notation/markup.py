r"""The formula in an answer or a statement: what people and language models write around it is taken away.

Around an answer may stand `$…$`, code fences, `\boxed{…}`, "Answer:", "F(x) =", an integral and "=", a final period, and
a remark that C is constant. Words are taken away only if they are on a list without any negation, so that "x^2 is not an
antiderivative" remains unreadable. Of several boxed formulas that differ, none is chosen.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from everlearn.domains.integration.grammar import DEFAULT
from everlearn.domains.integration.notation.tokens import FUNCTION_NAMES
from everlearn.errors import GrammarError

LONGEST = 2 * DEFAULT.length
"""Characters of an answer or statement, with the words around it."""
_ROUNDS = 8
_ENDS = (".", ",", ";", " ", "\n")
_PAIRS = (
    *(("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("```", "```"), ("`", "`")),
    *(("**", "**"), ('"', '"'), ("“", "”")),
)
_VERBS = frozenset({"is", "are", "equals", "get", "have", "obtain", "gives", "yields", "becomes"})
_PROSE = _VERBS | {
    *("the", "an", "one", "this", "that", "it", "we", "your", "my", "our", "here", "so", "thus", "then", "therefore"),
    *("hence", "and", "of", "for", "to", "by", "as", "be", "can", "written", "given", "found", "equal", "evaluates"),
    *("answer", "antiderivative", "primitive", "integral", "result", "solution", "function", "value", "form"),
    *("final", "indefinite", "general", "possible", "simplified", "desired", "required", "following"),
}
_TASK = _PROSE | {"integrate", "evaluate", "compute", "find", "calculate", "determine", "what", "solve", "please"}
_LABEL = re.compile(r"\b(?:final )?answer\b(?:\*\*)?(?: is)? ?[:=](?:\*\*)?", re.IGNORECASE)
_NEGATION = re.compile(r"\b(?:not|no|never|wrong|incorrect|except|cannot|false)\b|n['’]t\b", re.IGNORECASE)
_SPACE = re.compile(r"\s{2,}|[^\S\n ]")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}(?:['’][A-Za-z]+)?")
_FORMULA = re.compile(r"[^\s.,;:*$]")
_FENCE = re.compile(r"^```[a-z]*\n|\n?```$")
_INTEGRAL = r"(?:∫|\\int(?![A-Za-z]))"
_LEFT_SIDE = re.compile(
    rf"(?:let )?\$*(?:[A-Za-z](?:_.)? ?(?:\( ?[A-Za-zθφ] ?\))?|(?:\\displaystyle)? ?{_INTEGRAL}.*)?\$? ?$",
    re.DOTALL | re.IGNORECASE,
)
_LEFT_SIDE_FAULT = re.compile(r"['′’≠≈!~<>]|d ?/ ?d|\\frac ?\{d")
_REMARKABLE = re.compile(r"const|integration|number|∈|\\in(?![A-Za-z])|\bR\b", re.IGNORECASE)
_REMARK = re.compile(
    r"[,;]?\s*\(?\s*(?:where|with|and)?\s*\$?(?:\\\()?\s*(?P<name>[CcKk])\s*\$?(?:\\\))?\s*"
    r"(?:is|=|being|denotes|∈|\\in)\s*(?:an|a|any|the|some)?\s*(?:arbitrary|real)?\s*"
    r"(?:const(?:ant)?(?:\s+of\s+integration)?|integration\s+constant|ℝ|\\mathbb\{R\}|R|number)\s*\$?\)?\.?$",
    re.IGNORECASE,
)
_ADDED_CONSTANT = re.compile(
    r"\+\s*(?:\\text\{ ?)?(?:an|a|any|the|some)?\s*(?:arbitrary|integration)?\s*const(?:ant)?\.?"
    r"(?:\s+of\s+integration)?(?: ?\})?\s*$",
    re.IGNORECASE,
)
_DIFFERENTIAL = r"(?:\\,|\\;|\s){0,4}(?:\\mathrm ?\{d\}|\\d(?![A-Za-z])|d)\s?(?P<variable>[A-Za-zθφ])"
_AT_END = re.compile(rf"\*?{_DIFFERENTIAL}\s*$")
_WITH_RESPECT = re.compile(r",?\s(?:with respect to|w\.?r\.?t\.?)\s\$?(?P<variable>[A-Za-zθφ])\$?$", re.IGNORECASE)
_CALL = re.compile(
    r"^(?:integrate|integral|int)\s*[(\[](?P<body>.*),\s*(?P<variable>[A-Za-zθφ])\s*[)\]]$", re.IGNORECASE | re.DOTALL
)
_SYMBOL = re.compile(_INTEGRAL)


class Integrand(NamedTuple):
    """The text of an integrand, and the variable of its differential, empty if it has none."""

    text: str
    variable: str


def formula(text: str) -> str:
    """Return the formula of an answer.

    Raises:
        GrammarError: the words around it are not known, or it is not clear which of several formulas is meant.
    """
    _check_whole(text)
    return _right_side(_unwrapped(_after_label(_boxed(_bounded(text)))))


def integrand(text: str) -> Integrand:
    """Return the integrand of a statement, without integral sign, differential and words.

    Words are taken away only where an integral sign or the variable shows what the integrand is.

    Raises:
        GrammarError: the integral is a definite one.
    """
    body, variable = _bounded(text).strip().rstrip("?=. "), ""
    if found := _WITH_RESPECT.search(body) or _CALL.search(body):
        variable = found["variable"]
        body = found.groupdict().get("body") or body[: found.start()]
    marked = bool(found or _SYMBOL.search(body) or _AT_END.search(body))
    body = _unwrapped(_without_task(body) if marked else body, words=marked)
    start = _SYMBOL.match(body)
    body = body[start.end() :].lstrip() if start else body
    if _SYMBOL.search(body) or body.startswith(("_", "^", "\\limits")):
        raise GrammarError("a definite or repeated integral: give one integrand")
    if found := _AT_END.search(body):
        return Integrand(body[: found.start()], found["variable"])
    return Integrand(body, variable)


def _check_whole(text: str) -> None:
    """Refuse at once what is cut off or has a sign of no notation, as most answers of an untrained model do."""
    if "<" in text or text.count("(") != text.count(")") or text.rstrip().endswith(("+", "-", "/", "^", "=")):
        raise GrammarError("the formula is cut off, has a bracket too many, or a < in it")


def _bounded(text: str) -> str:
    """Return the text with one space or line break for each run of white space, so that every search is linear."""
    if len(text) > LONGEST:
        raise GrammarError(f"a text of {len(text)} characters; at most {LONGEST} are allowed")
    return _SPACE.sub(lambda found: "\n" if "\n" in found[0] else " ", text)


def _without_task(text: str) -> str:
    """Return the text after the words of a task, such as "Find the integral of"."""
    at = 0
    for word in _WORD.finditer(text):
        if word[0].lower() not in _TASK or text[at : word.start()].strip(" \n:,*"):
            break
        at = word.end()
    return text[at:].lstrip(" \n:,*") if at else text


def _boxed(text: str) -> str:
    r"""Return the content of \boxed{…}, or the text if it has none."""
    pieces = text.split("\\boxed")
    if len(pieces) == 1:
        return text
    found = {_braces(piece.lstrip()) for piece in pieces[1:]}
    if len(found) > 1 or _NEGATION.search(text):
        raise GrammarError("it is not clear which boxed formula is the answer")
    return found.pop()


def _braces(text: str) -> str:
    """Return what is in the braces at the beginning."""
    depth = 0
    for at, char in enumerate(text):
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return text[1:at]
    raise GrammarError("a closing brace is missing after \\boxed")


def _after_label(text: str) -> str:
    """Return the text after the last "Answer:"."""
    labels = list(_LABEL.finditer(text))
    if not labels:
        return text
    if _NEGATION.search(text):
        raise GrammarError("the words around the answer deny it")
    return text[labels[-1].end() :]


def _unwrapped(text: str, *, words: bool = True) -> str:
    """Return the text without the signs, the remark and, with `words`, the words around the formula."""
    for _ in range(_ROUNDS):
        before = text
        text = text.strip()
        if _REMARKABLE.search(text):
            text = _ADDED_CONSTANT.sub("+ C", _REMARK.sub("", text))
        while text.endswith(_ENDS):
            text = text[:-1] if text[-1] != "," or text[-2:-1] != "\\" else text[:-2]
        text = _FENCE.sub("", text).strip()
        for opening, closing in _PAIRS:
            inner = text[len(opening) : -len(closing)]
            if text.startswith(opening) and text.endswith(closing) and opening not in inner and inner:
                text = inner
        text = _after_words(text) if words else text
        if text == before:
            break
    return text


def _after_words(text: str) -> str:
    """Return the text after the last word or colon of prose. A formula may stand before a verb or a colon only.

    Raises:
        GrammarError: the words before it are not all known, or join two formulas, as in "x^2 and x^3".
    """
    cuts = [(word.end(), word[0].lower() in _VERBS) for word in _WORD.finditer(text) if word[0].lower() in _PROSE]
    cut, is_verb = max([(text.rfind(":") + 1, True), *cuts])
    if not cut:
        return text
    before = text[:cut]
    unknown = [word[0] for word in _WORD.finditer(before) if not _is_known(word[0].lower())]
    if unknown or _LEFT_SIDE_FAULT.search(before):
        raise GrammarError(f"{(unknown or [before])[0][:20]!r} is not known")
    if not is_verb and text[cut : cut + 1] == "(":
        raise GrammarError(f"{before.split()[-1][-20:]!r} is no function: write a space after it, if it is a word")
    if not is_verb and _FORMULA.search(_WORD.sub("", before)):
        raise GrammarError(f"a formula before {before.split()[-1]!r}: give one answer")
    return text[cut:].strip()


def _is_known(word: str) -> bool:
    return word in _PROSE or word in FUNCTION_NAMES or bool(re.fullmatch(r"x?d[a-z]", word))


def _right_side(text: str) -> str:
    """Return what is right of the last =, where the left side is a name, an integral or the formula before."""
    *left, right = text.split("=")
    if not left:
        return right
    if any(_LEFT_SIDE_FAULT.search(side) for side in left) or not _LEFT_SIDE.match(left[0]):
        raise GrammarError("the left side of = is no name of the answer")
    return _unwrapped(right)
