"""Reasons to drop a document, each a small function: Text -> (True, None) or (False, "reason").

`FILTERS` is the order in which they are asked: cheap ones first, and the first that says no names the reason. To add
one: write the function, name it here, and give it its bounds in crawl/settings.py.
"""

from collections.abc import Callable

from crawl.filters.language import language
from crawl.filters.length import too_long, too_short
from crawl.filters.lines import bullet_lines, ellipsis_lines, sentence_ends, short_lines
from crawl.filters.phrases import curly_braces, lorem_ipsum
from crawl.filters.repetition import repeated_lines, repeated_ngrams, repeated_paragraphs, top_ngrams
from crawl.filters.text import KEEP, Text, Verdict
from crawl.filters.words import letters_ratio, mean_word_length, stop_words, symbol_ratio

FILTERS: dict[str, Callable[..., Verdict]] = {
    "too_long": too_long,
    "too_short": too_short,
    "lorem_ipsum": lorem_ipsum,
    "curly_braces": curly_braces,
    "mean_word_length": mean_word_length,
    "symbol_ratio": symbol_ratio,
    "bullet_lines": bullet_lines,
    "ellipsis_lines": ellipsis_lines,
    "sentence_ends": sentence_ends,
    "short_lines": short_lines,
    "repeated_lines": repeated_lines,
    "repeated_paragraphs": repeated_paragraphs,
    "letters_ratio": letters_ratio,
    "stop_words": stop_words,
    "top_ngrams": top_ngrams,
    "repeated_ngrams": repeated_ngrams,
}


def judge(text: Text, settings: dict) -> Verdict:
    """The verdict of the first filter that is on and says no; settings["filters"] holds `on` and the bounds of each."""
    verdict = language(text, languages=settings["languages"])
    if not verdict[0]:
        return verdict
    for name, check in FILTERS.items():
        bounds = dict(settings["filters"][name])
        if bounds.pop("enabled"):
            verdict = check(text, **bounds)
            if not verdict[0]:
                return verdict
    return KEEP
