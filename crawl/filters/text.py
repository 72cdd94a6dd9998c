"""What filters look at: a text with its words, lines and paragraphs, each taken apart once however many filters ask."""

import re
from functools import cached_property

Verdict = tuple[bool, str | None]  # (True, None) to keep, (False, reason) to drop
KEEP: Verdict = (True, None)

# Chinese, Japanese, Thai, Lao, Khmer and Burmese write without spaces: there each character counts as a word.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")
UNSPACED_WORD = re.compile(f"[{UNSPACED}]")
HAS_LETTER = re.compile(r"[^\W\d_]")


class Text:
    """A document as filters see it."""

    def __init__(self, text: str, language: str | None = None):
        self.text, self.language = text, language

    @cached_property
    def words(self) -> list[str]:
        """Words with what is attached to them, as Gopher counts."""
        return WORD.findall(self.text) if UNSPACED_WORD.search(self.text) else self.text.split()

    @cached_property
    def is_unspaced(self) -> bool:
        """Is it mostly in a script that does not separate words?"""
        return len(UNSPACED_WORD.findall(self.text[:10_000])) > 0.3 * min(len(self.text), 10_000)

    @cached_property
    def lines(self) -> list[str]:
        """Lines that are not blank, without their indentation."""
        return [line.strip() for line in self.text.split("\n") if line.strip()]

    @cached_property
    def paragraphs(self) -> list[str]:
        """What blank lines separate."""
        return [part.strip() for part in self.text.split("\n\n") if part.strip()]


def share(part: float, whole: float) -> float:
    """part / whole, 0 for nothing at all."""
    return part / whole if whole else 0.0
