"""Where a text states its answer: the last word counts; thoughts, and what comes after the next question, do not."""

import re

# a model that goes on by itself writes the next question of its prompt, and answers that too
NEXT_QUESTION = re.compile(r"(?<=\S)\s*?\n[^\S\n]*(?:Q|Question|Problem|Exercise)\s*\d*\s*[:.)]")
THOUGHT = re.compile(r"</?(?:think|thinking|thought|reasoning|reflection)>")
TAKEN_BACK = re.compile(
    r"(?:(?<=^)|(?<=[\s.,;:!?()—–-]))(?:no,?\s+wait|(?:oh,?\s+)?wait|hold\s+on|scratch\s+that|strike\s+that|correction|"
    r"oops|i\s+meant?|make\s+that|or\s+rather|actually|(?:sorry|no)(?=\s*[,.;:!—–-])|"
    r"(?:that|this|it)(?:['’]s|\s+is|\s+was)\s+(?:wrong|incorrect|not\s+(?:right|correct)))\b[\s,.;:!—–-]*",
    re.I,
)
LEAD = re.compile(
    r"(?:(?:so|then|and|but|it|that|this|i|we|he|she|they|the)\b[\s,]*)*"
    r"(?:(?:correct|right|real|true|final)\s+)?(?:(?:answer|result|value|number|total|one)\s+)?"
    r"(?:(?:is|was|['’]s|(?:should|must|would)\s+be|get|have|mean)\b[\s:]*)?",
    re.I,
)


def own(text: str) -> str:
    """A text behind its thoughts, up to the next question in it; nothing where it was cut off while thinking."""
    ends = [*THOUGHT.finditer(text)][-1:]
    if ends:
        text = text[ends[0].end() :] if ends[0][0].startswith("</") else text[: ends[0].start()]
    return NEXT_QUESTION.split(text, maxsplit=1)[0]


def revisions(said: str) -> tuple[str, list[str]]:
    """What is said first, and what is said after each time that it is taken back, without "it is" in front.

    "5. No wait, it is 6." -> "5. ", ["6."]
    """
    first, *later = TAKEN_BACK.split(said)
    return first, [LEAD.sub("", part, count=1) for part in later]
