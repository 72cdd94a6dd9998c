"""White space: odd spaces made plain, none at line ends, at most one blank line. Indentation stays: it is meaning in
code and lists.
"""

import re

ODD_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
LINE_ENDS = re.compile(r"[ \t]+$", re.M)
BLANK_LINES = re.compile(r"\n{3,}")


def tidy_whitespace(text: str) -> str:
    """`text` with plain spaces, no spaces at line ends, paragraphs separated by one blank line."""
    text = LINE_ENDS.sub("", ODD_SPACES.sub(" ", text))
    return BLANK_LINES.sub("\n\n", text).strip("\n")
