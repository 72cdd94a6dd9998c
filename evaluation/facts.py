"""Facts of a summary that its source does not hold: numbers and names that stand nowhere in it.

A rule of thumb, not measured against people's judgement. It knows no synonym, no inflection and no arithmetic ("a
dozen" for 12, "Monday" for a date, the sum of two prices), and it does not see a fact that is twisted with the source's
own words. The first word of a sentence is passed over: it has a capital letter whether it is a name or not.
"""

import re

NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
SENTENCE = re.compile(r"(?<=[.!?:])\s+|\n+")
POSSESSIVE = re.compile(r"['’]s?$")
NO_NAMES = {"i", "i'm", "i'll", "i've", "i'd", "ok", "okay", "mr", "mrs", "ms", "dr"}
IN_WORDS = dict(
    zip(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"],
        map(str, range(13)),
        strict=True,
    )
)


def unsupported(summary: str, source: str) -> list[str]:
    """Numbers and names of a summary that its source lacks, each once, in the order in which they come."""
    known_numbers, known_words = set(numbers(source)), {_plain(word) for word in WORD.findall(source)}
    known_numbers |= {IN_WORDS[word] for word in known_words if word in IN_WORDS}
    found = [n for n in numbers(summary) if n not in known_numbers]
    found += [name for name in names(summary) if _plain(name) not in known_words]
    return list(dict.fromkeys(found))


def numbers(text: str) -> list[str]:
    """As they count: 1,200 and 1200 are one."""
    return [number.replace(",", "").rstrip(".") for number in NUMBER.findall(text)]


def names(text: str) -> list[str]:
    """Words with a capital letter that do not begin a sentence."""
    inside = [word for sentence in SENTENCE.split(text) for word in WORD.findall(sentence)[1:]]
    return [POSSESSIVE.sub("", w) for w in inside if w[:1].isupper() and _plain(w) not in NO_NAMES]


def _plain(word: str) -> str:
    return POSSESSIVE.sub("", word).lower()
