"""What the lines are like: bullets, ellipses, ends of sentences, lengths."""

from crawl.filters.text import KEEP, Text, Verdict, share

BULLETS = ("•", "‣", "▶", "◦", "●", "○", "■", "-", "–", "*", "·")
ELLIPSES = ("...", "…")
# with the marks of other scripts beside C4's . ? ! and closing quote, as in FineWeb's and datatrove's list
SENTENCE_ENDS = (".", "!", "?", '"', "”", "»", "。", "！", "？", "؟", "।", "։", "…", ".)", ":")


def bullet_lines(text: Text, *, max_share: float) -> Verdict:
    """Gopher (https://arxiv.org/abs/2112.11446, A.1.1): at most 90 % of the lines begin with a bullet."""
    bullets = sum(line.startswith(BULLETS) for line in text.lines)
    return KEEP if share(bullets, len(text.lines)) <= max_share else (False, "bullet_lines")


def ellipsis_lines(text: Text, *, max_share: float) -> Verdict:
    """Gopher (A.1.1): at most 30 % of the lines end with an ellipsis, as teasers do."""
    ellipses = sum(line.endswith(ELLIPSES) for line in text.lines)
    return KEEP if share(ellipses, len(text.lines)) <= max_share else (False, "ellipsis_lines")


def sentence_ends(text: Text, *, min_share: float) -> Verdict:
    """FineWeb (https://arxiv.org/abs/2406.17557, section 3.6): at least 12 % of the lines end as sentences do."""
    ends = sum(line.endswith(SENTENCE_ENDS) for line in text.lines)
    return KEEP if share(ends, len(text.lines)) >= min_share else (False, "sentence_ends")


def short_lines(text: Text, *, max_share: float, chars: int) -> Verdict:
    """FineWeb (section 3.6): at most 67 % of the lines are of 30 characters or less."""
    short = sum(len(line) <= chars for line in text.lines)
    return KEEP if share(short, len(text.lines)) <= max_share else (False, "short_lines")
