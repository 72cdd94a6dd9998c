"""One form for each text: Unicode NFC, no characters that cannot be seen or stored."""

import re
import unicodedata

# Control characters but tab and newline; lone surrogates; non-characters; soft hyphens, which only say where a word
# may break; zero-width space, word joiner and byte order marks inside text. Zero-width joiner and non-joiner and the
# direction marks stay: Persian, Hindi and emoji are wrong without the first two, mixed right-to-left text without the
# others.
INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u2060\ufeff\ud800-\udfff\ufffe\uffff]")
LINE_ENDS = re.compile("\r\n?|[\u2028\x85]")


def normalize(text: str) -> str:
    """NFC, `\\n` line ends, invisible characters removed."""
    text = LINE_ENDS.sub("\n", text).replace("\u2029", "\n\n")
    if text.isascii() and text.isprintable():
        return text
    return unicodedata.normalize("NFC", INVISIBLE.sub("", text))
