"""Formulas of pages as MathML."""

from __future__ import annotations

import re
from html import unescape

from latex2mathml.converter import convert

_FORMULA = re.compile(r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', flags=re.DOTALL)


def as_mathml(html: str) -> str:
    r"""`html` with the \(...\) and \[...\] of pymdownx.arithmatex as <math>."""
    return _FORMULA.sub(_math, html)


def _math(formula: re.Match[str]) -> str:
    block = formula["tag"] == "div"
    math = convert(unescape(formula["latex"]).strip(), display="block" if block else "inline")
    return f'<div class="formula">{math}</div>' if block else math
