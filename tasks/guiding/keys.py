"""The keys `tools`, `schema` and `regex` of generate and chat, as one guide."""

import logging
from collections.abc import Sequence

from errors import RequestError
from evaluation.tool_use import tool_guide
from models.generation import Completion
from models.guides import MakeGuide
from tasks.guiding.grammar import Vocabulary
from tasks.guiding.schema import endless, read_schema, regex_ends
from tokenization.base import Tokenizer

log = logging.getLogger(__name__)


def guide_of(
    tokenizer: Tokenizer, *, tools: Sequence[str], schema: str | None, regex: str | None, end: int
) -> MakeGuide | None:
    """What guides a text that `end` ends; None where no key asks for anything.

    Raises:
        RequestError: several of the keys, or one that cannot be followed.
    """
    given = {"tools": list(tools) or None, "schema": schema, "regex": regex}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise RequestError(f"{' and '.join(names)}: a text has one guide. Leave out all but one.")
    if schema is not None:
        wanted = read_schema(schema)
        guide = Vocabulary(tokenizer, end).of_schema(wanted)
        warn_endless(endless(wanted))
        return guide
    if regex is not None:
        guide = Vocabulary(tokenizer, end).of_regex(regex)
        warn_endless([] if regex_ends(regex) else [f"regex={regex} matches texts of any length"])
        return guide
    return tool_guide(tools, tokenizer)


def warn_endless(places: Sequence[str], most: int = 5) -> None:
    if places:
        more = f"; and {len(places) - most} more" if len(places) > most else ""
        log.warning("a text may not come to its end: %s%s.", "; ".join(places[:most]), more)


def say_unfinished(completions: Sequence[Completion], max_new_tokens: int) -> None:
    """Says how many texts were cut before they were what was asked for."""
    if cut := sum(not completion.stopped for completion in completions):
        log.warning(
            "%d of %d texts were cut at max_new_tokens=%d and are incomplete. Type max_new_tokens=%d, or a schema "
            "whose strings and arrays end.", cut, len(completions), max_new_tokens, 2 * max_new_tokens,
        )  # fmt: skip
