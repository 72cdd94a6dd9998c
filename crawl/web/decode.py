"""Bytes -> text: which charset a page really is in, whatever its header and its <meta> say.

In order of trust: a byte order mark; UTF-8 that decodes without error (other charsets hardly ever do by accident);
what the page or the server declares, if the bytes agree; a guess from the bytes; the declared one with replacements.
"""

import codecs

from charset_normalizer import from_bytes
from w3lib.encoding import html_body_declared_encoding, read_bom, resolve_encoding

SAMPLE = 20_000  # bytes a guess looks at
MAX_BROKEN = 0.01  # share of undecodable characters under which text still counts as UTF-8
# Western single-byte charsets decode anything. Of the letters of a Western text, well under a third are accented;
# a page in Cyrillic or Greek declared as Latin-1 has nearly all of them above ASCII.
WESTERN = {"cp1252", "iso8859-1", "iso8859-15", "latin-1", "ascii"}
MAX_ACCENTED = 0.4
MIN_TELLING = 20  # bytes above ASCII, below which a guess is a lottery
FALLBACK = "cp1252"  # what browsers assume where nothing is said: https://encoding.spec.whatwg.org/


def decode(body: bytes, header: str | None = None) -> str:
    """The text of `body`; `header` is the charset named by the Content-Type header, if any. Never raises."""
    bom, mark = read_bom(body)
    if bom and mark:
        return body[len(mark) :].decode(bom, "replace")
    if b"\x1b" not in body:  # ISO-2022 texts are all ASCII, with escapes
        try:
            return body.decode("utf-8")
        except UnicodeDecodeError:
            pass
    return _declared(body, header) or _guessed(body, header)


def _declared(body: bytes, header: str | None) -> str | None:
    """The text by the first declared charset that agrees with the bytes."""
    for name in (header, html_body_declared_encoding(body)):
        encoding = resolve_encoding(name) if name else None
        if not encoding or not _known(encoding):
            continue
        if codecs.lookup(encoding).name == "utf-8":
            text = body.decode("utf-8", "replace")
            if text.count("\ufffd") <= MAX_BROKEN * len(text):
                return text
            continue
        try:
            text = body.decode(encoding)
        except UnicodeDecodeError:
            # Western charsets leave a few bytes undefined; everything else that fails is another charset
            if codecs.lookup(encoding).name not in WESTERN:
                continue
            text = body.decode(encoding, "replace")
        if codecs.lookup(encoding).name not in WESTERN or _looks_western(text):
            return text
    return None


def _guessed(body: bytes, header: str | None) -> str:
    text = body.decode("utf-8", "replace")
    if text.count("\ufffd") <= MAX_BROKEN * len(text):
        return text
    above = sum(byte > 127 for byte in body[:1_000_000])
    best = from_bytes(_telling_part(body)).best() if above >= MIN_TELLING else None
    encoding = best.encoding if best else FALLBACK
    return body.decode(encoding if _known(encoding) else FALLBACK, "replace")


def _telling_part(body: bytes) -> bytes:
    """A bounded part of the page that holds bytes above ASCII, where charsets differ: around the first of them."""
    first = next((at for at, byte in enumerate(body[:1_000_000]) if byte > 127), 0)
    start = max(0, first - SAMPLE // 10)
    return body[start : start + SAMPLE]


def _looks_western(text: str) -> bool:
    letters = [character for character in text[:200_000] if character.isalpha()]
    above = sum(character > "\x7f" for character in letters)
    words_above = [character for character in letters if character > "\x7f"]
    if above < 50:  # nothing to tell by
        return True
    # markup is ASCII and would hide a Cyrillic page: compare with runs of letters that are above ASCII
    runs = _longest_runs(text[:200_000])
    return above <= MAX_ACCENTED * len(letters) and runs <= MAX_ACCENTED * len(words_above)


def _longest_runs(text: str) -> int:
    """How many letters above ASCII stand in runs of three or more of them, as they never do in Western words."""
    total = run = 0
    for character in text:
        if character > "\x7f" and character.isalpha():
            run += 1
            continue
        total += run if run >= 3 else 0
        run = 0
    return total + (run if run >= 3 else 0)


def _known(encoding: str) -> bool:
    try:
        codecs.lookup(encoding)
    except LookupError:
        return False
    return True
