"""Text that was written as UTF-8 and read as something else: "CafÃ©" for "Café"."""

import re

REPLACEMENT = "\ufffd"


def _misread(codec: str) -> str:
    """Lists, as a character class, what the bytes 0x80 to 0xBF become in a code page."""
    return "".join(re.escape(bytes([byte]).decode(codec, "ignore")) for byte in range(0x80, 0xC0))


# The first byte of a character of UTF-8 tells how many follow; each follower is one of _misread.
FOLLOWER = f"[{_misread('cp1252')}{_misread('latin-1')}]"
# A word may end on such a letter, and a quotation or a sentence behind it.
END = "(?![»’”…])"
PATTERN = re.compile(f"[ÂÃÅÄ]{END}{FOLLOWER}|â{FOLLOWER}{{2}}|ï»¿|ð{FOLLOWER}{{3}}")
HINTS = ("Â", "Ã", "Å", "Ä", "â", "ï", "ð")


def is_misread(text: str) -> bool:
    """Tells whether a text holds U+FFFD or a sequence that only wrong decoding makes."""
    if text.isascii():
        return False
    return REPLACEMENT in text or (any(hint in text for hint in HINTS) and PATTERN.search(text) is not None)
