"""Repeated lines, paragraphs and runs of words: the bounds are Gopher's (Rae et al. 2021, table A1,
https://arxiv.org/abs/2112.11446).
"""

from collections import Counter

from crawl.filters.text import KEEP, Text, Verdict, share

MIN_LINE = 5  # characters; a closing brace is no repetition
MAX_WORDS = 50_000  # that are looked at: the shares of a long text show long before its end


def repeated_lines(text: Text, *, max_share: float, max_char_share: float) -> Verdict:
    """Lines that were there before: at most 30 % of the lines, 20 % of the characters."""
    return _repeated(text.lines, text, max_share, max_char_share, "repeated_lines")


def repeated_paragraphs(text: Text, *, max_share: float, max_char_share: float) -> Verdict:
    """Paragraphs that were there before: at most 30 % of the paragraphs, 20 % of the characters."""
    return _repeated(text.paragraphs, text, max_share, max_char_share, "repeated_paragraphs")


def _repeated(pieces: list[str], text: Text, max_share: float, max_char_share: float, reason: str) -> Verdict:
    seen: set[str] = set()
    count = chars = 0
    pieces = [piece for piece in pieces if len(piece) >= MIN_LINE]
    for piece in pieces:
        if piece in seen:
            count += 1
            chars += len(piece)
        seen.add(piece)
    over = share(count, len(pieces)) > max_share or share(chars, len(text.text)) > max_char_share
    return (False, reason) if over else KEEP


def top_ngrams(text: Text, *, max_char_share_2: float, max_char_share_3: float, max_char_share_4: float) -> Verdict:
    """The most frequent run of 2, 3 and 4 words holds at most 20, 18 and 16 % of the characters."""
    words = text.words[:MAX_WORDS]
    total = sum(map(len, words)) + len(words)
    for size, bound in ((2, max_char_share_2), (3, max_char_share_3), (4, max_char_share_4)):
        if len(words) < 2 * size:
            continue
        ngram, count = Counter(zip(*(words[start:] for start in range(size)), strict=False)).most_common(1)[0]
        if count > 1 and share(count * (sum(map(len, ngram)) + size), total) > bound:
            return False, "top_ngrams"
    return KEEP


def repeated_ngrams(text: Text, *, words: int, max_char_share: float) -> Verdict:
    """Characters in runs of words that were there before.

    Gopher asks for 5 words (15 %) to 10 (10 %); one size does as well. As in datatrove's `find_all_duplicate`: a
    repeated run is counted and stepped over, so overlaps count once.
    """
    tokens = text.words[:MAX_WORDS]
    seen: set[tuple[str, ...]] = set()
    at = repeated = 0
    while at <= len(tokens) - words:
        ngram = tuple(tokens[at : at + words])
        if ngram in seen:
            repeated += sum(map(len, ngram))
            at += words
        else:
            seen.add(ngram)
            at += 1
    return KEEP if share(repeated, sum(map(len, tokens))) <= max_char_share else (False, "repeated_ngrams")
