"""Too short, too long.

Gopher keeps documents of 50 to 100,000 words (Rae et al. 2021, table A1 and section A.1.1,
https://arxiv.org/abs/2112.11446).
"""

from crawl.filters.text import KEEP, Text, Verdict


def too_short(text: Text, *, min_words: int) -> Verdict:
    """Fewer words than a text has."""
    return KEEP if len(text.words) >= min_words else (False, "too_short")


def too_long(text: Text, *, max_chars: int) -> Verdict:
    """Dumps and traps. In characters, so that it can be asked before anything is split."""
    return KEEP if len(text.text) <= max_chars else (False, "too_long")
