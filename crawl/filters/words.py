"""What the words are like: their length, letters, symbols, and the small words every prose has.

All from Gopher's quality filters (Rae et al. 2021, section A.1.1, https://arxiv.org/abs/2112.11446).
"""

from crawl.filters.text import HAS_LETTER, KEEP, Text, Verdict, share

# Gopher's list; at least two of them. English only: texts in other languages pass.
STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})


def mean_word_length(text: Text, *, min_chars: float, max_chars: float) -> Verdict:
    """Gopher: between 3 and 10 characters. Of no meaning where words are not separated."""
    if text.is_unspaced:
        return KEEP
    mean = share(sum(map(len, text.words)), len(text.words))
    return KEEP if min_chars <= mean <= max_chars else (False, "mean_word_length")


def letters_ratio(text: Text, *, min_share: float) -> Verdict:
    """Gopher: 80 % of the words hold a letter."""
    with_letter = sum(1 for word in text.words if HAS_LETTER.search(word))
    return KEEP if share(with_letter, len(text.words)) >= min_share else (False, "letters_ratio")


def symbol_ratio(text: Text, *, max_share: float) -> Verdict:
    """Gopher: hashes, and ellipses, at most 0.1 a word, each."""
    hashes = text.text.count("#")
    ellipses = text.text.count("...") + text.text.count("…")
    return KEEP if share(max(hashes, ellipses), len(text.words)) <= max_share else (False, "symbol_ratio")


def stop_words(text: Text, *, min_words: int) -> Verdict:
    """Gopher: at least two of the most common English words; what has none is no prose."""
    if text.language not in ("en", None):
        return KEEP
    found = STOP_WORDS.intersection(word.lower().strip(".,;:!?\"'()") for word in text.words)
    if text.language is None and not found and not text.text.isascii():
        return KEEP
    return KEEP if len(found) >= min_words else (False, "stop_words")
