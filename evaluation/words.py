"""Words of a text in any script, for scores that count them.

A word is a run of letters and digits with their marks; Han, kana, Thai, Lao, Khmer and Myanmar put no spaces between
words, so there each letter with its marks is one, as in the Chinese ROUGE of LCSTS (1506.05865). English comes out as
by rouge-score's own tokenizer, which knows a-z and 0-9 alone and tears "naïve" in two.
"""

import unicodedata
from functools import cache
from typing import Any

import regex

_NO_SPACES = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
SPACELESS = regex.compile(rf"[{_NO_SPACES}]")
WORD = regex.compile(rf"[{_NO_SPACES}]\p{{M}}*|(?:(?![{_NO_SPACES}])[\p{{L}}\p{{N}}]\p{{M}}*)+")


def words(text: str, *, stem: bool = False) -> list[str]:
    """Words in order, lower case. Two ways to write one letter (e with its accent, or behind it) are one."""
    found = WORD.findall(unicodedata.normalize("NFC", text.lower()))
    return [_stemmer().stem(word) if stem and len(word) > 3 and word.isascii() else word for word in found]


@cache
def _stemmer() -> Any:
    from nltk.stem.porter import PorterStemmer  # comes with rouge-score

    return PorterStemmer()


class Words:
    """`words` as rouge-score takes a tokenizer."""

    @staticmethod
    def tokenize(text: str) -> list[str]:
        return words(text, stem=True)
