"""Numbers, counts and names as a person reads them, safe inside a page of HTML."""

import math
from html import escape
from numbers import Integral, Real
from typing import Any

NAME_CHARACTERS = 60  # of a label inside a sentence
LARGEST = 1e300  # beyond it a number counts as not finite, so that an axis can be computed
SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def mark_name(label: Any) -> str:
    """Keeps a label's own direction of writing out of the sentence around it."""
    return f"<bdi>{escape(cut(str(label), NAME_CHARACTERS))}</bdi>"


def quote(label: Any) -> str:
    """Puts a label between quotation marks."""
    return f"“{mark_name(label)}”"


def mark_code(text: Any) -> str:
    """Sets what a person would type, escaped."""
    return f"<code>{escape(str(text))}</code>"


def cut(text: str, length: int) -> str:
    """Shortens a text to so many characters and an ellipsis."""
    return text if len(text) <= length else text[:length].rstrip() + "…"


def count_of(size: Any, noun: str) -> str:
    """Counts a noun: 1 record, 2 records, 3 classes."""
    plural = "" if size == 1 else "es" if noun.endswith("s") else "s"
    return f"{number(size)} {noun}{plural}"


def percent(share: Any) -> str:
    """Writes a share as a percentage, with 3 significant digits."""
    return f"{number(share * 100)}%" if is_finite(share) else number(share)


def millions(value: Any) -> str:
    """Writes a large number in millions."""
    return f"{number(value / 1e6)} M" if is_finite(value) and value >= 1e6 else number(value)


def number(value: Any) -> str:
    """Writes a number for a person: whole with thousands separators, otherwise with 3 significant digits."""
    if isinstance(value, Integral):
        return f"{value:,}"
    if not is_finite(value):
        return "–" if value is None else "not finite"
    if value and not 1e-4 <= abs(value) < 1e6:
        return scientific(value, 2)
    return f"{value:,.{max(0, 2 - exponent(float(f'{value:.2e}')))}f}"


def scientific(value: float, digits: int) -> str:
    """Writes a number as a mantissa of so many digits and a power of ten."""
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    return f"{mantissa}×10{str(int(exponent)).translate(SUPERSCRIPTS)}" if value else "0"


def exponent(value: float) -> int:
    """Finds the power of ten of a number's first digit."""
    return math.floor(math.log10(abs(value)) + 1e-9) if value else 0


def is_finite(value: Any) -> bool:
    """Tells whether a value is a number that an axis can hold."""
    return isinstance(value, Real) and abs(value) < LARGEST
