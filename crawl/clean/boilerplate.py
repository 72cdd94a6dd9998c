"""Lines that speak of the web page and not of its subject: cookies, JavaScript, legal lines.

C4 drops every line with "javascript", and with "terms of use", "privacy policy", "cookie policy", "uses cookies",
"use of cookies" or "use cookies" (Raffel et al. 2020, section 2.2, https://arxiv.org/abs/1910.10683). Taken word for
word that would empty a page about JavaScript or about cookies, so here a line must be short and say it the way a
banner says it.
"""

import re

MAX_LINE = 300  # characters; longer ones are prose
BANNER = re.compile(
    r"(please )?(enable|turn on|activate) javascript|javascript (is|seems to be|must be) (disabled|enabled|"
    r"required|turned off|not)|"
    r"(this|our) (web ?)?site uses? cookies|we use (\w+ ){0,3}cookies|by (continuing|using|"
    r"clicking) .{0,60}\bcookies?\b|accept (all )?cookies|"
    r"all rights reserved|^\W*(copyright|©|\(c\)) .{0,80}\b(19|20)\d\d\b|^\W*(terms of (use|service)|"
    r"privacy policy|cookie policy)( ?[|·,&/-]|\W*$)|"
    r"wir verwenden cookies|nous utilisons des cookies|utilizamos cookies|мы используем (файлы )?cookie",
    re.I | re.M,
)


def without_boilerplate_lines(text: str) -> str:
    """`text` without such lines."""
    if not BANNER.search(text):
        return text
    return "\n".join(line for line in text.split("\n") if len(line) > MAX_LINE or not BANNER.search(line))
