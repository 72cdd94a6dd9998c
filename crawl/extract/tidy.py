"""Blocks -> blocks: leave out what names and tags did not give away: lists of links, "Related articles", doubles."""

import re

from crawl.extract.blocks import Block

LINK_LIST = 0.7  # share of link text above which a list is navigation; a reference list has text beside its links
LINK_LINE = 0.9  # ... above which a short line is a button or a teaser
SHORT_LINE = 80  # characters
TITLE_BLOCKS = 3  # among which the title may stand
DOUBLE = 80  # characters from which a text that was there already is a copy (a version for phones, a lead repeated)
JUNK_HEADINGS = re.compile(
    r"(related (articles?|posts?|stories|products?|topics?|links|reading|content|questions?|pages?|searches)|"
    r"read (next|more)|more (from|in|on)\b.*|"
    r"you (may|might) (also )?(like|enjoy|be interested in)|(customers|people) (who|also)\b.*|"
    r"recommended( for you| products?)?|"
    r"(most )?(popular|read|viewed)( (articles?|posts?|now|topics?))?|trending( now)?|latest (news|posts?|"
    r"articles?)|share this.*|follow us.*|"
    r"(leave|post|add) a (comment|reply).*|(\d+ )?comments?( \(\d+\))?|navigation|table of contents|contents|"
    r"on this page|in this (article|section)|"
    r"recently viewed.*|similar (products?|topics?|threads?|items?)|about the author|tags|categories|sign up\b.*|"
    r"newsletter|subscribe\b.*|"
    r"verwandte (artikel|beiträge|themen)|das könnte (sie|dich|ihnen) auch.*|articles (liés|similaires)|"
    r"à lire aussi|artículos relacionados|"
    r"مقالات ذات صلة|اقرأ أيضا|كتبות נוספות|כתבות נוספות|קראו גם|похожие (статьи|темы)|читайте также|関連記事)\W*",
    re.I,
)
# calls to do something else, in articles
PROMOS = re.compile(
    r"((please )?(follow|like|join|find) (us|me|him|her|them|[\w’'@. -]{2,60}?) on\b.*|(to )?(sign up|subscribe)\b.*|"
    r"get (the|our|all|more|access to)\b.*\b(newsletters?|inbox|subscription|alerts)\b.*|"
    r"click here\b.*|download our\b.*|"
    r"(read|see|watch)( more| also| next| now)?:.*|(more|related|listen|update|also on \w+):.*|don['’]t miss\W*|"
    r"(copyright|©|\(c\)) .*|.*\ball rights reserved\b.*|(have a|send us a) (news )?tip\b.*)",
    re.I | re.S,
)
PROMO = 250  # characters; longer ones are prose


def tidy(found: list[Block], title: str | None = None) -> list[Block]:
    """What is left of the blocks of a main text; `title`: of an article, which has it in a field of its own."""
    found = [block for block in found if not _is_button(block)]
    if title is not None:
        found = without_title(found, title)
        found = [block for block in found if len(block.text) > PROMO or not PROMOS.fullmatch(block.text)]
    return without_empty_headings(without_doubles(without_link_lists(without_junk_sections(found))))


def without_title(found: list[Block], title: str) -> list[Block]:
    """All but the title, where one of the first blocks repeats it."""
    key = _letters(title)

    def is_title(block: Block) -> bool:
        name = _letters(block.text)
        return name == key or (block.kind == "heading" and len(name) >= 10 and key.startswith(name))

    return [block for block in found[:TITLE_BLOCKS] if not is_title(block)] + found[TITLE_BLOCKS:]


def _letters(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())


def _is_button(block: Block) -> bool:
    if block.kind in ("code", "table"):
        return block.kind == "table" and block.link_density > LINK_LIST
    text = block.text
    if not any(character.isalnum() for character in text):
        return True
    return len(text) <= SHORT_LINE and block.link_density > LINK_LINE and block.kind == "p"


def without_junk_sections(found: list[Block]) -> list[Block]:
    """Headings that announce other pages, with all that follows until a heading of the same rank."""
    kept, inside = [], 0
    for block in found:
        if block.kind == "heading":
            if inside and block.level <= inside:
                inside = 0
            if not inside and len(block.text) < 80 and JUNK_HEADINGS.fullmatch(block.text):
                inside = block.level
        if not inside:
            kept.append(block)
    return kept


def without_link_lists(found: list[Block]) -> list[Block]:
    """Runs of list items that are mostly links."""
    kept: list[Block] = []
    run: list[Block] = []
    for block in [*found, None]:
        if block is not None and block.kind == "item":
            run.append(block)
            continue
        if sum(item.link_chars for item in run) <= LINK_LIST * sum(len(item.text) for item in run) or not run:
            kept += run
        run = []
        if block is not None:
            kept.append(block)
    return kept


def without_doubles(found: list[Block]) -> list[Block]:
    """Each long text once, and each subject of a discussion."""
    kept, seen = [], set()
    for block in found:
        key = "".join(block.text.split())
        if block.kind == "heading":
            if key.lower().startswith("re:") and key[3:] in seen:
                continue  # a forum says its subject above each answer
            seen.add(key)
        if block.kind != "code" and len(key) >= DOUBLE:
            if key in seen:
                continue
            seen.add(key)
        kept.append(block)
    return kept


def without_empty_headings(found: list[Block]) -> list[Block]:
    """Headings whose section went away, or never had text."""
    kept: list[Block] = []
    for block in reversed(found):
        below = kept[-1] if kept else None
        if block.kind == "heading" and (below is None or (below.kind == "heading" and below.level <= block.level)):
            continue
        kept.append(block)
    return kept[::-1]
