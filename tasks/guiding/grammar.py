"""Texts that follow a grammar: a guide (models/guides.py) out of llguidance's matcher, for any tokenizer.

llguidance reads bytes, so a tokenizer is to it the bytes of each id. Of its output only the bit masks are taken: its
own ways of applying them to logits are compiled by torch at first use, which takes half a minute.

    Vocabulary(tokenizer, end)    once: a second for 50,000 ids
    .guide(grammar)               for each schema: milliseconds
    a row's guide                 for each row: microseconds
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from errors import RequestError, panics_told
from models.guides import Ids, MakeGuide
from tasks.guiding.schema import Schema, as_text
from tokenization.base import Tokenizer

NO_TEXT = b"\xff<%d>"  # what llguidance takes for a token that stands for no text
PROBED = 2_000  # ids whose text is held against their bytes


class Vocabulary:
    """A tokenizer as llguidance sees it. `end`: the id that may follow once the grammar is satisfied.

    Raises:
        RequestError: llguidance is not installed; the tokenizer writes other text than the bytes of its ids.
    """

    def __init__(self, tokenizer: Tokenizer, end: int):
        try:
            from llguidance import LLTokenizer, TokenizerWrapper
        except ImportError:
            raise RequestError("schema and regex need llguidance.\nType: pip install llguidance") from None
        self.tokenizer, self.end, self.pieces = tokenizer, end, tokenizer.pieces()
        check_exact(tokenizer, self.pieces)
        self.by_bytes = {piece: i for i, piece in reversed(list(enumerate(self.pieces))) if piece is not None}
        self.longest = max(map(len, self.by_bytes))
        known, slices = TokenizerWrapper(_Bytes(self)), LLTokenizer.json_slices()
        self.lltokenizer = LLTokenizer(known, n_vocab=len(self.pieces), eos_token=end, slices=slices)
        self.lacking = b""  # what must be written, of the row that was asked last, where no ids write it

    def of_schema(self, schema: Schema) -> MakeGuide:
        """Guides to JSON of this schema. Raises RequestError for what llguidance does not support, in its words."""
        from llguidance import LLMatcher

        exact = {"whitespace_flexible": False, "lenient": False}
        with told("schema"):
            grammar = LLMatcher.grammar_from_json_schema(as_text(schema), overrides=exact)  # type: ignore[arg-type]
            return self.guide("schema", grammar)

    def of_regex(self, pattern: str) -> MakeGuide:
        r"""Guides to texts that match from their first character to their last; \d and \w are ASCII, as in a schema.

        Raises:
            RequestError: as above.
        """
        from llguidance import LLMatcher, regex_to_lark

        with told("regex"):
            return self.guide("regex", LLMatcher.grammar_from_lark(f"start: /{regex_to_lark(pattern, 'dw')}/"))

    def guide(self, what: str, grammar: str) -> MakeGuide:
        from llguidance import LLMatcher

        wrong, words = LLMatcher.validate_grammar_with_warnings(grammar, self.lltokenizer)
        if wrong:
            raise RequestError(f"{what}: {in_words(words)}")
        first = LLMatcher(self.lltokenizer, grammar, log_level=0)
        GrammarGuide(self, first.deep_copy()).allowed([])  # a vocabulary that cannot even begin is told now
        return lambda prompt: GrammarGuide(self, first.deep_copy())

    def encode(self, data: bytes) -> list[int]:
        """Ids whose bytes are `data`: the tokenizer's own, or where those say something else the longest that fit, as
        far as there are any."""
        try:
            ids = self.tokenizer.encode(data.decode("utf-8")).tolist()
            if b"".join([self.pieces[i] or b"\0\xff" for i in ids]) == data:
                return ids
        except (UnicodeDecodeError, RequestError):
            pass
        found: list[int] = []
        at = 0
        while at < len(data):
            ends = range(min(len(data), at + self.longest), at, -1)
            end = next((end for end in ends if data[at:end] in self.by_bytes), None)
            if end is None:
                if not found:
                    self.lacking = data
                return found
            found.append(self.by_bytes[data[at:end]])
            at = end
        return found


@contextmanager
def told(what: str) -> Iterator[None]:
    """Raises RequestError for what llguidance raises: ValueError for halves of characters and numbers beyond those of
    JSON elsewhere, and the panics of its Rust, which would end a server.
    """
    with panics_told(f"{what}: llguidance"):
        try:
            yield
        except ValueError as error:
            raise RequestError(f"{what}: {str(error).partition(': ')[0][:200]}.") from None


class _Bytes:
    """What llguidance asks of a tokenizer."""

    def __init__(self, vocabulary: Vocabulary):
        pieces = vocabulary.pieces
        self.encode, self.eos_token_id, self.bos_token_id = vocabulary.encode, vocabulary.end, None
        self.tokens = [NO_TEXT % i if piece is None else piece for i, piece in enumerate(pieces)]
        self.special_token_ids = [i for i, piece in enumerate(pieces) if piece is None]

    def __call__(self, text: bytes | str) -> list[int]:
        return self.encode(text if isinstance(text, bytes) else text.encode("utf-8"))


class GrammarGuide:
    """Masks of one row. The matcher goes back and forth to wherever it is asked about."""

    def __init__(self, vocabulary: Vocabulary, matcher: Any):
        self.vocabulary, self.matcher = vocabulary, matcher
        self.read: list[int] = []  # ids that the matcher has taken

    def forced(self, ids: Ids) -> Ids:
        return []

    def allowed(self, ids: Ids) -> np.ndarray:
        """(V,) bool.

        Raises:
            RequestError: the vocabulary has no characters for what must come; ids that this guide did not allow.
        """
        self._go_to(list(ids))
        self.vocabulary.lacking = b""
        bits = np.frombuffer(self.matcher.compute_bitmask(), dtype=np.uint8)
        mask = np.unpackbits(bits, count=len(self.vocabulary.pieces), bitorder="little").view(bool)
        end = self.vocabulary.end
        stuck = not mask.any() or (mask[end] and not self.matcher.is_accepting())
        if self.vocabulary.lacking or stuck or self.matcher.is_error():
            self._refuse()
        return mask

    def _refuse(self) -> None:
        known, text = self.vocabulary, self.vocabulary.tokenizer.decode(self.read)[-80:]
        must = repr(known.lacking.decode("utf-8", "replace")[:80]) if known.lacking else "what must follow"
        error = self.matcher.get_error().partition("\n")[0]
        if " " in error and not known.lacking:  # a sentence, not the code of a dead end
            raise RequestError(f"after {text!r} nothing can be written: {error}")
        raise RequestError(
            f"after {text!r} nothing can be written: tokenizer={known.tokenizer.kind} has no ids for {must}.\n"
            "Type a model whose tokenizer can write any text (byte, bpe), or another schema."
        )

    def _go_to(self, ids: list[int]) -> None:
        same = len(self.read)
        if ids[:same] != self.read:
            same = next((i for i, (a, b) in enumerate(zip(ids, self.read, strict=False)) if a != b), len(ids))
            self.matcher.rollback(len(self.read) - same)
        self.matcher.consume_tokens(ids[same:])
        self.read = ids


def check_exact(tokenizer: Tokenizer, pieces: Sequence[bytes | None]) -> None:
    """Raises RequestError where the text of ids is not that of their bytes, side by side (WordPiece adds blanks)."""
    whole = [i for i, piece in enumerate(pieces) if piece is not None and is_text(piece)]
    probe = whole[:: max(1, len(whole) // PROBED)]
    wanted = b"".join([pieces[i] or b"" for i in probe]).decode("utf-8")
    if tokenizer.decode(probe).lstrip(" ") != wanted.lstrip(" "):  # some drop a blank before a text
        raise RequestError(
            f"schema and regex are not for tokenizer={tokenizer.kind} as it is here: it changes what its ids say when "
            "they are put together, so that a text cannot be followed byte by byte.\n"
            "Type a model with another tokenizer: byte, char, bpe, sentencepiece, tiktoken, or a byte-level one of hf."
        )


def is_text(piece: bytes) -> bool:
    try:
        piece.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def in_words(messages: Sequence[str]) -> str:
    """llguidance's message without the place in its own grammar."""
    lines = [line.strip() for line in "\n".join(messages).splitlines()]
    return "; ".join(line for line in lines if line and not line.startswith(("^", "1 |")))
