"""Personal data replaced by placeholders: e-mail addresses, IP addresses, telephone numbers; each only if asked for.

Kinds and placeholders as in Dolma (Soldaini et al. 2024, section 3.1.4, https://arxiv.org/abs/2402.00159).
Patterns find what is written in the usual ways; this is a rough broom, no guarantee.
"""

import ipaddress
import re
from collections.abc import Callable

PLACEHOLDERS = {"email": "|||EMAIL_ADDRESS|||", "ip": "|||IP_ADDRESS|||", "phone": "|||PHONE_NUMBER|||"}
# bounded repeats, and no @ before: a megabyte without spaces must not take a minute
EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}\b")
IP = re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4})(?![\w:]|\.\d)")
# +49 (0)30 1234-567 | (555) 123-4567 | 555-123-4567 | 030/1234567. Bare digit runs are not numbers to call.
PHONE = re.compile(
    r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(0\)[ .-]?)?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ ./-]?\d{2,4}){1,4}"
    r"|\(\d{2,5}\)[ ./-]?\d{3,4}(?:[ .-]\d{3,4}){1,2}|\d{3}[.-]\d{3}[.-]\d{4}|0\d{2,4}/\d{5,8})(?![\w-]|\.\d)"
)


def mask(text: str, settings: dict) -> tuple[str, dict[str, int]]:
    """`text` with the kinds that are on in settings["mask"] replaced, and how many of each were."""
    counts: dict[str, int] = {}
    for kind, (pattern, accept) in KINDS.items():
        if settings["mask"][kind]:
            text, count = _replace(text, pattern, accept, PLACEHOLDERS[kind])
            counts |= {kind: count} if count else {}
    return text, counts


def _replace(text: str, pattern: re.Pattern[str], accept: Callable[[str], bool], placeholder: str) -> tuple[str, int]:
    count = 0

    def one(match: re.Match[str]) -> str:
        nonlocal count
        if not accept(match[0]):
            return match[0]
        count += 1
        return placeholder

    return pattern.sub(one, text), count


def _is_public_address(text: str) -> bool:
    """Version numbers, loopback and private addresses identify nobody (as in FineWeb,
    https://arxiv.org/abs/2406.17557).
    """
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def _has_enough_digits(text: str) -> bool:
    return 7 <= sum(character.isdigit() for character in text) <= 15  # ITU-T E.164: at most 15


KINDS: dict[str, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    "email": (EMAIL, lambda text: True),
    "ip": (IP, _is_public_address),
    "phone": (PHONE, _has_enough_digits),
}
