r"""The number that an answer states, read whole or not at all: never the digits up to the first odd character.

Where the answer stands, the first of these that can be read: GSM8K's line `#### 72` (2110.14168; its released solutions
write `A: 72`), the last `\boxed{72}` (MATH, 2103.03874), the last "the answer is 72", or the whole text. What is taken
back ("The answer is 5. No wait, it is 6.") is not the answer; where what replaces it cannot be read, there is none.

What is ambiguous is decided once, here. `1,234` is 1234 and `1.234` is 1.234, as in English; `1.234,50` and `1.234.567`
can only be meant the other way round and are read so; `1,5` may be a list, `10:30` is a time, `5-7` a range, `(5)` may
be a debt, `5k` and `5M` may be units: none of them is a number. A per cent sign is a unit, as in 2206.14858: `25%` is
25.
"""

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

from evaluation.stated import own, revisions

LONGEST = 200  # characters of a stated number with its unit
LARGEST_EXPONENT = 300

MARKED = re.compile(r"####\s*([^\n]*)")
STATES = re.compile(
    r"(?i:\banswer(?:\s+(?:is|was|becomes|(?:should|would|must)\s+be)|\s*[:=：])|^[^\S\n]*A[:：])\s*:?\s*(?!\s*:?\s*not\b)",
    re.MULTILINE,
)
BOX = re.compile(r"\\boxed\s*\{")
MARKUP = re.compile(r"\*\*|__|`|\\[()\[\]]|\\left|\\right|<<[^<>]*>>|</?[a-z]{1,8}>")
WRAPPED = re.compile(r"\\(?:boxed|text|textbf|textit|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
LATEX_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{(\d+)\}\s*\{(\d+)\}|(\d)(\d))")
END = re.compile(r"[.;!?](?=\s|$)|。|,?\s+(?:because|since)\b|\n")
REPLACED = {
    "{,}": ",", "\\,": " ", "\\;": " ", "\\:": " ", "\\ ": " ", "\\!": "", "\\$": "$", "\\%": "%", "\\times": "×",
    "\\cdot": "×", "·": "×", "\\approx": "≈", "⁄": "/", "：": ":", "approx.": "about", "Rs.": "Rs",
    **dict.fromkeys("\u00a0\u2007\u2009\u202f", " "),
    **dict.fromkeys("\u2212\u2013\u2014\u2010\u2011\ufe63\uff0d", "-"),
}  # fmt: skip
SUPERSCRIPTS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")

CURRENCY = r"(?:(?:US|A|C|NZ|HK)?\$|[€£¥₹₽₩]|(?:USD|EUR|GBP|JPY|INR|CNY|Rs)\b\s?)"
BEFORE = rf"(?:[A-Za-z]\s*=|=|≈|~|(?i:about|around|approximately|roughly|exactly)\b)?\s*" \
         rf"(?P<sign>[-+]?)\s?{CURRENCY}?\s?(?P<inner>[-+]?)"  # fmt: skip
PLAIN = (
    r"\d{1,3}(?:,\d{2,3})*,\d{3}(?![\d,])(?:\.\d+)?"  # 1,234.5 and 12,34,567
    r"|\d{1,3}(?: \d{3})+(?!\d)(?:\.\d+)?|\d{1,3}(?:['’_]\d{3})+(?!\d)(?:\.\d+)?"  # 1 234 and 1'234
    r"|\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}"  # 1.234,50 and 1.234.567
    r"|\d+(?:\.\d+)?|\.\d+"
)
POWER = r"\s?[×x*]\s?10\s?\^?\s?(?P<times>\{-?\d+\}|-?\d+)"
NUMBER = re.compile(
    rf"{BEFORE}(?:(?P<whole>\d+)\s(?P<part>\d+)/(?P<of>\d+)|(?P<over>\d+)\s?/\s?(?P<under>\d+)"
    rf"|10\^(?P<ten>\{{-?\d+\}}|-?\d+)|(?P<plain>{PLAIN})(?:[eE](?P<e>[-+]?\d+)|{POWER})?)(?P<unit>(?![\d.,/:^-]*\d).*)",
    re.DOTALL,
)
UNIT = re.compile(r"[\s%°]*(?:[^\W\d_]|[\s%°²³€£¥₹₽₩$'’\",.:!?()]|(?<=[^\W\d_])(?:[-/]|\^[23]|\^\{[23]\}))*")
SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
COUNTS = {
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "twenty", "thirty",
    "forty", "fifty",
}  # fmt: skip
MORE = {  # words behind a number that make it another one
    "half", "halves", "third", "thirds", "quarter", "quarters", "point", "plus", "minus", "over", "to", "or", "squared",
    "cubed", "one", "k", "m", "b", "t", "x", "y", "z", *COUNTS, *SCALES,
}  # fmt: skip
UNIT_LETTERS = {"m", "b", "t"}  # small: metres, bits, tonnes; large: millions, billions, trillions or units


def number(text: str) -> str | None:
    """The number that a text gives as its answer, as `written`: "#### 1,200" -> "1200", "#### 3 1/2" -> "3.5"."""
    text = MARKUP.sub("", own(text))
    found = next((read for place in _marked(text) if (read := value(place)) is not None), None)
    if found is None:
        said = next((part for part in reversed(_statements(text)) if _tells(part)), None)
        found = value(_alone(text)) if said is None else _final(said)
    return None if found is None else written(found)


def _marked(text: str) -> Iterator[str]:
    """What is marked as the answer, the surest first."""
    yield from (found[1] for found in MARKED.finditer(text))
    if (boxed := last_boxed(text)) is not None:
        yield boxed


def _statements(text: str) -> list[str]:
    """What follows each "the answer is", up to the next one."""
    heads = [*STATES.finditer(text)]
    ends = [*(head.start() for head in heads), len(text)][1:]
    return [text[head.end() : end] for head, end in zip(heads, ends, strict=False)]


def _tells(said: str) -> bool:
    """Does a statement speak of a number? "the answer is 10:30" and "is six" do, "is clear" does not."""
    return any(_has_number(part) for part in (END.split(said, maxsplit=1)[0], *revisions(said)[1]))


def _has_number(text: str) -> bool:
    return any(c.isnumeric() for c in text) or not COUNTS.isdisjoint(text.lower().split())


def _final(said: str) -> Fraction | None:
    """The number of a statement, or the one that replaces it; None where one replaces it that cannot be read."""
    first, later = revisions(said)
    stated = value(first)
    for part in filter(_has_number, reversed(later)):
        if (found := value(part)) is not None:
            return found
        checked = re.findall(PLAIN, part)[-1:]
        return stated if checked and value(checked[0]) == stated else None
    return stated


def _alone(text: str) -> str:
    """The first sentence of a text that says no number after it; else nothing."""
    first, *later = END.split(text.strip(), maxsplit=1)
    return "" if any(c.isdecimal() for c in "".join(later)) else first


def last_boxed(text: str) -> str | None:
    r"""What is inside the last \boxed{...}, braces in it included."""
    starts = [found.end() for found in BOX.finditer(text)]
    if not starts:
        return None
    depth = 1
    for at in range(starts[-1], len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[starts[-1] : at]
    return None


def value(text: str) -> Fraction | None:
    """The number that a text is, perhaps with its currency or unit; None for anything else."""
    text = _normal(text)
    found = NUMBER.fullmatch(text) if 0 < len(text) <= LONGEST else None
    if found is None or (found["sign"] and found["inner"]):
        return None
    scale, magnitude = _scale(found["unit"]), _magnitude(found)
    if scale is None or magnitude is None:
        return None
    return -magnitude * scale if "-" in (found["sign"], found["inner"]) else magnitude * scale


def _normal(text: str) -> str:
    """One way of writing: ASCII digits, one minus, no LaTeX, no markup around it, and nothing after the sentence."""
    text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text[: 4 * LONGEST])
    for old, new in REPLACED.items():
        text = text.replace(old, new)
    text = LATEX_FRACTION.sub(lambda m: f" {m[1] or m[3]}/{m[2] or m[4]}", WRAPPED.sub(r"\1", text))
    text = "".join(_spelled(c) for c in text).replace("⁄", "/")
    text = re.sub(r"(?<=10)[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda m: "^" + m[0].translate(SUPERSCRIPTS), text)
    text = text.strip().strip("*_ ")
    if len(text) > 2 and text[0] == text[-1] == "$":  # mathematics, not money
        text = text.strip("$ ")
    return END.split(text, maxsplit=1)[0].strip().strip("*_ ")


def _spelled(character: str) -> str:
    """A character such as ½ as 1/2, with a space before it: 3½ is 3 1/2."""
    is_fraction = unicodedata.decomposition(character).startswith("<fraction>")
    return " " + unicodedata.normalize("NFKC", character) if is_fraction else character


def _magnitude(found: re.Match[str]) -> Fraction | None:
    if found["whole"] is not None:  # 3 1/2
        part, of = int(found["part"]), int(found["of"])
        return int(found["whole"]) + Fraction(part, of) if part < of else None
    if found["over"] is not None:
        return Fraction(int(found["over"]), int(found["under"])) if int(found["under"]) else None
    exponent = int((found["ten"] or found["times"] or found["e"] or "0").strip("{}"))
    if abs(exponent) > LARGEST_EXPONENT:
        return None
    return (Fraction(1) if found["ten"] else Fraction(_digits(found["plain"]))) * Fraction(10) ** exponent


def _digits(plain: str) -> str:
    """Digits and a point, whichever signs group them."""
    plain = re.sub(r"[ '’_]", "", plain)
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}", plain):
        return plain.replace(".", "").replace(",", ".")
    return plain.replace(",", "")


def _scale(unit: str) -> int | None:
    """1 for a unit, 1,000,000 for " million people"; None where the words make it another number."""
    if not UNIT.fullmatch(unit):
        return None
    words = re.findall(r"[^\W\d_]+", unit)
    first = words[0].lower().removesuffix("s") if words else ""
    rest = words[1:] if first in SCALES else words
    if any(word.lower() in MORE and word not in UNIT_LETTERS for word in rest):
        return None
    return SCALES.get(first, 1)


def written(value: Fraction | Decimal | float | str) -> str:
    """In digits, without exponent and without zeros that say nothing: 1234567, 0.5, 7.5; 1/3 where digits never end."""
    exact = value if isinstance(value, Fraction) else Fraction(str(value))
    top, bottom, places = exact.numerator, exact.denominator, 0
    while bottom % 10 == 0 or bottom % 2 == 0 or bottom % 5 == 0:
        factor = 10 if bottom % 10 == 0 else 2 if bottom % 2 == 0 else 5
        top, bottom, places = top * (10 // factor), bottom // factor, places + 1
    if bottom > 1:
        return f"{exact.numerator}/{exact.denominator}"
    digits = f"{abs(top):0{places + 1}d}"
    return ("-" if top < 0 else "") + (f"{digits[:-places]}.{digits[-places:]}" if places else digits)
