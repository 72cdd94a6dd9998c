"""Text that was decoded with the wrong charset somewhere on its way ("schÃ¶n"): ftfy puts it right.

Only lines that look wrong to ftfy's own heuristic are touched: it is slow, and a page about mojibake should keep its
other lines. https://ftfy.readthedocs.io
"""

import ftfy
from ftfy.badness import is_bad

# Encodings only: quotes, ligatures and widths are the author's, entities were resolved by the HTML parser.
CONFIG = ftfy.TextFixerConfig(
    unescape_html=False,
    remove_terminal_escapes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    remove_control_chars=False,
    normalization=None,
    explain=False,
)
MAX_LINE = 10_000  # characters; longer lines are left alone, ftfy would take too long


def fix_mojibake(text: str) -> str:
    """Each line repaired if it needs it."""
    if text.isascii():
        return text
    return "\n".join(
        line if line.isascii() or len(line) > MAX_LINE or not is_bad(line) else ftfy.fix_text(line, CONFIG)
        for line in text.split("\n")
    )
