"""Which language a text is in, and whether it is wanted.

py3langid carries its model in its wheel (about 5 MB), so nothing is fetched. https://github.com/adbar/py3langid
"""

from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from crawl.filters.text import HAS_LETTER, KEEP, Text, Verdict

SAMPLE = 2000  # characters that are looked at; more change nothing
MIN_LETTERS = 40  # letters below which a guess is worth less than what the page declares
SURE = 0.8  # probability from which the text is believed against the page's own word


@cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def detect(text: str, declared: str | None = None) -> str | None:
    """ISO 639-1 code of the language of `text`; what is declared counts where the text does not tell clearly."""
    sample = _sample(text)
    if len(HAS_LETTER.findall(sample)) < MIN_LETTERS:
        return declared
    language, probability = _identifier().classify(sample)
    return str(language) if probability >= SURE or declared is None else declared


def _sample(text: str) -> str:
    """Prose rather than code: indented lines tell nothing about the language."""
    lines, size = [], 0
    for line in text[: 20 * SAMPLE].split("\n"):
        if size >= SAMPLE:
            break
        if line and not line.startswith((" ", "\t", ">>>", "$", "...")):
            lines.append(line)
            size += len(line)
    return ("\n".join(lines) or text)[:SAMPLE]


def language(text: Text, *, languages: list[str]) -> Verdict:
    """One of the wanted languages; an unknown one is not."""
    return KEEP if not languages or text.language in languages else (False, "language")
