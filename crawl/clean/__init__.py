"""Cleaning: text -> text, a file a step. `clean` runs those that are on, in this order."""

from crawl.clean.boilerplate import without_boilerplate_lines
from crawl.clean.mojibake import fix_mojibake
from crawl.clean.wellformed import normalize
from crawl.clean.whitespace import tidy_whitespace

__all__ = ["clean"]


def clean(text: str, settings: dict) -> str:
    """`text` with the steps of settings["clean"] applied; the last two always are: every text is NFC and tidy."""
    options = settings["clean"]
    if options["mojibake"]:
        text = fix_mojibake(text)
    if options["boilerplate_lines"]:
        text = without_boilerplate_lines(text)
    return tidy_whitespace(normalize(text))
