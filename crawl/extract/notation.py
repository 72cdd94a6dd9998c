"""Formulas, powers, indices and readings as plain text.

`x<sup>10</sup>` -> `x^10`, `a<sub>n+1</sub>` -> `a_(n+1)`, `<math>` -> `$TeX$` where the page carries the TeX
(annotation, alttext, MathJax script, alt of a picture), else the MathML in one line; `<ruby>` -> `漢字(かんじ)`.
"""

import re
from typing import Any

from lxml.etree import _Element
from lxml.html import HtmlElement

from crawl.extract.find import find_all
from crawl.extract.junk import HIDDEN, words

NOTATION = (
    ".//math | .//ruby | .//script[starts-with(@type, 'math/')] | .//sup | .//sub"
    " | .//img[@alt][contains(@class, 'math') or contains(@class, 'tex')]"
)
TYPESET = re.compile(r"mwe-math|katex|mathjax|mjx", re.I)  # around a formula: the same, once more
RENDERED = ".//*[contains(@class, 'MathJax_Preview') or contains(@class, 'MathJax_Display') or @class='MathJax']"
DISPLAYSTYLE = re.compile(r"\s*\{\s*\\(?:displaystyle|textstyle)\s*(.*)\}\s*", re.S)
RAISED = re.compile(r"st|nd|rd|th|mc|mme|m?lle|mes?|tm|sm|[ª°º™®©℠*†‡]", re.I)  # set high, and no power
ORDINAL = re.compile(r"e|er|re|[eè]re|[eè]me|nde?|de|os?|as?", re.I)  # 2e, 1er, XXe
COUNTED = re.compile(r"[\dIVXLC]$")
SIMPLE = re.compile(r"[+−–-]?(?:\d+(?:[.,]\d+)?|\w|[^\w\s])[*′']*")
ELEMENTS = words(
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Ag Cd Sn Sb I Xe "
    "Cs Ba W Pt Au Hg Pb Bi U"
)
ELEMENT_BEFORE = re.compile(r"(?:^|[^a-zA-Z])(?:[A-Z][a-z]?\d*)*?([A-Z][a-z]?)$|\)$")
SPACED = frozenset("=<>≤≥≠≈≡≅∼→⇒⇔∈∉⊂⊆+−-±×·∪∩∧∨")
MAX_DEPTH = 60  # MathML inside MathML


def settle(tree: HtmlElement) -> None:
    """Replace formulas, powers, indices and readings of a page by their text."""
    if find_all(tree, ".//script[starts-with(@type, 'math/')]"):
        for rendered in find_all(tree, RENDERED):
            _replace(rendered, "")
    for element in reversed(find_all(tree, NOTATION)):  # what stands inside comes first
        WRITERS[str(element.tag)](element)


def _replace(element: _Element, text: str) -> None:
    """Put text in an element's place."""
    parent, previous = element.getparent(), element.getprevious()
    if parent is None:
        return
    text += element.tail or ""
    if previous is not None:
        previous.tail = (previous.tail or "") + text
    else:
        parent.text = (parent.text or "") + text
    parent.remove(element)


def _text(element: _Element) -> str:
    return " ".join("".join(element.itertext()).split())


def _script(element: _Element) -> None:
    _replace(element, _tex(element.text or ""))


def _picture(element: _Element) -> None:
    _replace(element, _tex(element.get("alt") or ""))


def _tex(text: str) -> str:
    match = DISPLAYSTYLE.fullmatch(text)
    text = " ".join((match[1] if match else text).split())
    return f"${text}$" if text else ""


def _math(element: _Element) -> None:
    notes = element.iter("annotation")
    written = next((note.text for note in notes if "tex" in (note.get("encoding") or "").lower() and note.text), None)
    written = written or element.get("alttext")
    text = _tex(written) if written else _linear(element)
    outer = element
    while (parent := outer.getparent()) is not None and _is_around(parent):
        if len("".join(parent.itertext())) > 2 * len("".join(element.itertext())) + 20:
            break  # it holds more than this formula and its picture
        outer = parent
    _replace(outer, text)


def _is_around(element: _Element) -> bool:
    """Is it there for the formula only?"""
    return bool(TYPESET.search(f"{element.tag} {element.get('class')}") or HIDDEN.search(element.get("style", "")))


def _linear(element: _Element, depth: int = 0) -> str:
    """MathML in one line: (a+b)/2, x^2, sqrt(x), sum_(i=1)^n."""
    name = str(element.tag).rpartition(":")[2]
    if depth > MAX_DEPTH or name in ("annotation", "annotation-xml", "mphantom"):
        return ""
    if not len(element):
        text = _text(element)
        has_left = element.getprevious() is not None and element.getnext() is not None
        return f" {text} " if name == "mo" and text in SPACED and has_left else text
    parts = [_linear(child, depth + 1).strip() if name not in ROWS else _linear(child, depth + 1) for child in element]
    if name in ("mfrac", "msup", "msub", "mroot", "mover", "munder") and len(parts) == 2:
        return _pair(name, *parts)
    if name in ("msubsup", "munderover") and len(parts) == 3:
        return f"{parts[0]}_{_grouped(parts[1])}^{_grouped(parts[2])}{' ' if name == 'munderover' else ''}"
    joined = "; ".join(parts) if name == "mtable" else ", ".join(parts) if name == "mtr" else "".join(parts)
    if name == "msqrt":
        return f"sqrt({joined.strip()})"
    if name == "mfenced":
        return f"{element.get('open', '(')}{', '.join(parts)}{element.get('close', ')')}"
    return joined.strip() if name == "math" else joined


ROWS = frozenset({"math", "mrow", "mstyle", "semantics", "mpadded", "msqrt", "menclose", "merror", "mtd"})


def _pair(name: str, first: str, second: str) -> str:
    if name == "mfrac":
        return f"{_grouped(first)}/{_grouped(second)}"
    if name == "mroot":
        return f"root({first}, {second})"
    if name == "mover" and not second.isalnum() and len(second) == 1:
        return first + second  # an accent
    return f"{first}{'^' if name in ('msup', 'mover') else '_'}{_grouped(second)}"


def _grouped(text: str) -> str:
    text = text.replace(" ", "")
    return text if SIMPLE.fullmatch(text) else f"({text})"


def _raised(element: _Element) -> None:
    text, before = _text(element), _before(element)
    if "reference" in element.get("class", ""):
        _replace(element, "")
    elif _is_note(element):
        _replace(element, text if text.startswith("[") or not text else f"[{text}]")
    elif not before or before[-1].isspace() or text.startswith("[") or _is_only_raised(text, before):
        _replace(element, text)
    else:
        _replace(element, f"^{_grouped(text)}" if text else "")


def _is_only_raised(text: str, before: str) -> bool:
    return bool(RAISED.fullmatch(text) or (ORDINAL.fullmatch(text) and COUNTED.search(before)))


def _lowered(element: _Element) -> None:
    text, before = _text(element), _before(element)
    symbol = ELEMENT_BEFORE.search(before[-40:])
    if not before or before[-1].isspace() or (text.isdecimal() and symbol and (not symbol[1] or symbol[1] in ELEMENTS)):
        _replace(element, text)  # H2O
    else:
        _replace(element, f"_{_grouped(text)}" if text else "")


def _is_note(element: _Element) -> bool:
    """A mark that leads to a note at the foot of the page."""
    links = [*element.iter("a"), *element.iterancestors("a")]
    return bool(links) and all((link.get("href") or "").startswith("#") for link in links)


def _before(element: _Element) -> str:
    """The text right before an element, in its paragraph."""
    text: Any = next(iter(find_all(element, "preceding::text()[1]")), None)
    paragraph = next(element.iterancestors("p", "li", "td", "div", "body"), None)
    inside = text is not None and paragraph in (text.getparent(), *text.getparent().iterancestors())
    return str(text) if inside else ""


def _ruby(element: _Element) -> None:
    base = [element.text or ""]
    for child in element:
        text = _text(child) if isinstance(child.tag, str) else ""
        if child.tag == "rt" and text:
            base.append(f"({text})")
        elif child.tag not in ("rp", "rtc"):
            base.append(text)
        base.append((child.tail or "").strip("\n\t "))
    _replace(element, "".join(base).strip())


WRITERS = {"math": _math, "ruby": _ruby, "script": _script, "img": _picture, "sup": _raised, "sub": _lowered}
