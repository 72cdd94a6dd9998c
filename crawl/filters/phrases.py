"""Single marks of pages that hold no text: placeholder text, program code.

Both from C4 (Raffel et al. 2020, section 2.2, https://arxiv.org/abs/1910.10683).
"""

from crawl.filters.text import KEEP, Text, Verdict, share


def lorem_ipsum(text: Text, *, max_share: float) -> Verdict:
    """C4 drops every page with "lorem ipsum". A long page may speak of it, so it counts by the word."""
    count = text.text.lower().count("lorem ipsum")
    return KEEP if share(count, len(text.words)) <= max_share else (False, "lorem_ipsum")


def curly_braces(text: Text, *, max_share: float) -> Verdict:
    """C4 drops every page with a curly brace, to be rid of code; here by the word."""
    braces = text.text.count("{") + text.text.count("}")
    return KEEP if share(braces, len(text.words)) <= max_share else (False, "curly_braces")
