"""Which elements of a page are not its text: by tag, by role, by being hidden, and by the words in class and id.

Class names are read as words (`site-footer__links` -> site, footer, links), and a junk word counts at the beginning
or the end of a name only: `layout-with-sidebar` is a layout. `<body>`, `<main>` and `<article>` are never judged by
their names.
"""

import re
from functools import lru_cache

from lxml.etree import _Element


def words(text: str) -> frozenset[str]:
    """The words of a list that is easier to read in lines."""
    return frozenset(text.split())


TAGS = words(
    "applet area audio button canvas datalist dialog embed frame frameset head iframe input link map meta math "
    "menu nav noembed noframes noscript object optgroup option output param picture progress rp rt script select "
    "source style svg template textarea title track video"
)
ROLES = words(
    "navigation banner contentinfo search complementary alert alertdialog dialog menu menubar toolbar tablist"
)
# aside and footer are junk, but for what belongs to the text: notes, footnotes, the source of a quotation
NOTES = re.compile(r"note|admonition|callout|warning|tip|footnote|important|topic|info-?box", re.I)
NEVER_BY_NAME = frozenset({"html", "body", "main", "article", "h1", "pre", "code", "blockquote", "td", "tr", "tbody"})
HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)
# The words were collected from Readability's unlikelyCandidates (github.com/mozilla/readability), trafilatura's
# OVERALL_DISCARD_XPATH, and Sphinx, MediaWiki, WordPress, phpBB and shop themes.
WORDS = words(
    "nav navbar navigation navbox subnav menu megamenu breadcrumb breadcrumbs crumbs sidebar sidenav aside footer "
    "cookie cookies cookiebar consent gdpr onetrust banner advert adverts advertisement advertising ads adsense "
    "adslot sponsor sponsored promo promotion outbrain taboola newsletter subscribe subscription signup share "
    "sharing sharebar addtoany social related recommended recommendations upsell crosssell trending popular "
    "mostread pagination pager paginator toolbar popup modal overlay tooltip hidden noprint login signin "
    "searchbox searchform toc catlinks editsection headerlink anchorlink permalink copybutton linenos lineno "
    "linenumbers gutter jumplinks byline tags taglist avatar userpanel userinfo signature sphinxsidebar "
    "printfooter siteheader masthead topbar skip skiplink feedback helpful teaser teasers"
)
PHRASES = re.compile(
    r"^(sr-only|visually-?hidden|screen-reader(-text)?|skip-to.*|skip-link|edit-?(page|link|this).*|(site|page|"
    r"global|top)-?header|"
    r"read-?(more|next)|most-(read|popular|viewed)|you-may.*|also-(like|bought|viewed).*|customers-also.*|"
    r"prev-?next|next-?prev|"
    r"(post|article|entry)-?(meta|info|tags|author|nav|share|footer)|author-?(bio|box|card|info)|user-?(info|"
    r"panel|card|details)|"
    r"post-?(profile|author|buttons|controls|actions)|(blob|line|code)-?num(ber)?s?|ad-?(slot|unit|box|container|"
    r"wrapper|banner|block)s?|"
    r"ad|mw-editsection|mw-jump-link|copy-?(btn|button)|on-this-page|table-of-contents|add-?to-?(cart|basket)|"
    r"buy-?box|delivery-?(info|box)|"
    r"quick-?links|site-?(nav|menu|footer|search|notice)|report-?(post|abuse)|(question|topic|thread|post)-?stats|"
    r"online-?(list|users)|who-?s-?online|vote(s|-count|-box|count)?)$"
)
COMMENTS = re.compile(
    r"^(comments?-?(section|area|list|thread|wrapper|block|form)?|disqus(-thread)?|respond|reader-comments|reply-form)$"
)
# their ids are made from titles (Sphinx, Markdown): a section on signatures, an entry on cookies
TITLED = words("section dl dt dd h2 h3 h4 h5 h6 span a")
# lines about the text: who wrote it, when
LINES_ABOUT = words(
    "byline author dateline postmetadata post-meta entry-meta article-meta skiplink skip-link copyright"
)
PARTS = re.compile(r"[a-z]+|[A-Z][a-z]*|[A-Z]+(?![a-z])|\d+")


def is_junk(element: _Element, *, by_name: bool = True) -> bool:
    """Is neither the element nor anything in it text of the page? By tag, role and style, and by its names."""
    tag = element.tag
    if not isinstance(tag, str) or tag in TAGS:
        return True
    attributes = element.attrib
    if tag in ("aside", "footer", "header"):
        return _is_edge(element, tag)
    if not attributes:
        return False
    if "hidden" in attributes or attributes.get("aria-hidden") == "true" or attributes.get("role") in ROLES:
        return tag not in ("html", "body", "main")
    style = attributes.get("style")
    if style and HIDDEN.search(style) and tag != "body":
        return True
    if tag == "sup" and "reference" in attributes.get("class", ""):
        return True
    if tag in NEVER_BY_NAME or not by_name:
        return False
    names = attributes.get("class", ""), attributes.get("id", "")
    if tag == "p":  # names of paragraphs mostly say how they look
        return not LINES_ABOUT.isdisjoint(names[0].lower().split())
    if tag in TITLED or "section" in names[0].split():
        names = names[0], ""
    return any(names) and _junk_names(f"{names[0]} {names[1]}")


def _is_edge(element: _Element, tag: str) -> bool:
    """Headers, footers and asides: junk, unless they belong to the text."""
    if element.get("role") in ("doc-footnote", "note", "doc-tip"):
        return False
    if tag == "aside":
        return not NOTES.search(element.get("class", ""))
    inside = {parent.tag for parent in element.iterancestors("article", "main", "blockquote", "section")}
    if tag == "footer":
        return "blockquote" not in inside
    if inside & {"article", "main", "section"}:
        return False  # of a text: holds its title
    parent = element.getparent()
    has_title = element.find(".//h1") is not None and element.find(".//nav") is None
    return not has_title or parent is None or parent.tag == "body"


@lru_cache(maxsize=10_000)
def _junk_names(names: str) -> bool:
    return any(_junk_name(name) for name in names.split())


def _junk_name(name: str) -> bool:
    parts = [part.lower() for part in PARTS.findall(name)]
    if not parts:
        return False
    dashed = "-".join(parts)
    if COMMENTS.match(dashed) or PHRASES.match(dashed) or "".join(parts) in WORDS:
        return True
    if len(parts) > 4:
        return False
    return parts[0] in WORDS or parts[-1] in WORDS
