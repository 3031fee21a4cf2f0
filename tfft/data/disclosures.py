"""Text that should not have left the house: likely secrets and e-mail addresses, told apart but never repeated."""

import re
from collections.abc import Iterator

# A text without the hint has no match: finding that out takes a tenth of the time of the pattern.
SECRETS = (
    ("-----BEGIN", re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----")),
    ("A", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("gh", re.compile(r"\bgh[oprsu]_[0-9A-Za-z]{36,}\b")),
    ("github_pat_", re.compile(r"\bgithub_pat_\w{40,}\b")),
    ("xox", re.compile(r"\bxox[abeoprs]-[\w-]{20,}")),
    ("eyJ", re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}")),
    ("earer ", re.compile(r"\b[Bb]earer [\w.~+/-]{20,}=*")),
    ("://", re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{1,64}:[^\s/@]{1,64}@[\w.-]+")),
)
# The look behind stands after the first digit, which a search finds at once.
CARD = re.compile(r"[3-6](?<![\d.-].)\d{3}(?:[ -]?\d{4}){2}[ -]?\d{3,4}(?![\d.-]?\d)")
AMERICAN_EXPRESS = re.compile(r"3(?<![\d.-].)[47]\d{2}[ -]?\d{6}[ -]?\d{5}(?![\d.-]?\d)")
E_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b")


def find_disclosures(text: str) -> Iterator[str]:
    """Names what a text seems to disclose: "secrets", "e-mail", each once, and never the value.

    Source:
        The shapes that GitHub's secret scanning and gitleaks publish; ISO/IEC 7812-1 for the numbers of cards.
    """
    if holds_secret(text):
        yield "secrets"
    if "@" in text and E_MAIL.search(text):
        yield "e-mail"


def holds_secret(text: str) -> bool:
    """Tells whether a text seems to hold a key, a token, a password in an address or the number of a card."""
    if any(hint in text and pattern.search(text) for hint, pattern in SECRETS):
        return True
    return any(_has_check_digit(match[0]) for pattern in (CARD, AMERICAN_EXPRESS) for match in pattern.finditer(text))


def _has_check_digit(number: str) -> bool:
    digits = [int(character) for character in reversed(number) if character.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0
