"""Byte-level BPE trained on the corpus: 256 bytes, then one id for each merge, in the order in which they were found.

Sennrich et al. 2016, https://arxiv.org/abs/1508.07909, on bytes as GPT-2 has it. Training is rustbpe's (three times as
fast as Hugging Face's trainer on one core, the same merges), encoding tiktoken's: see benchmarks/tokenizers.py.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from bounds import PositiveInt, Seed, Text
from errors import RequestError, panics_told
from tokenization.byte_bpe import ByteBPE
from tokenization.merges import Merge, describe_merges, from_tsv, to_tsv, words_of
from tokenization.patterns import split_pattern
from tokenization.pieces import sample
from tokenization.progress import counted

log = logging.getLogger(__name__)
N_BYTES = 256
DIGITS = 2  # in one token at most, as nanochat has it
VIEW = "merges.tsv"
BUFFER = 512  # pieces of text that the trainer copies and counts at once


class BPETokenizer(ByteBPE):
    """`vocab_size` counts all ids: bytes, merges and specials.

    `merges`: what was learned, "left,right" for each new id in order, separated by blanks; None until `train`.
    """

    kind: ClassVar[str] = "bpe"

    def __init__(
        self,
        *,
        vocab_size: PositiveInt,
        pattern: str = "gpt4",
        digits: PositiveInt = DIGITS,
        train_bytes: PositiveInt,
        seed: Seed = 0,
        specials: list[str] | None = None,
        merges: Text | None = None,
    ):
        """Raises RequestError for a vocabulary without room for the bytes, a pattern that is no regex, or digits that
        it does not read."""
        self._set_up(
            vocab_size=vocab_size, pattern=pattern, digits=digits, train_bytes=train_bytes, seed=seed,
            specials=specials, merges=merges,
        )  # fmt: skip
        smallest = N_BYTES + len(self.special_names)
        if merges is None and vocab_size < smallest:
            raise RequestError(
                f"tokenizer.vocab_size={vocab_size}: expected at least {smallest}"
                f" ({N_BYTES} bytes, {len(self.special_names)} specials)."
            )
        if pattern != "gpt4" and digits != DIGITS:
            raise RequestError(
                f"tokenizer.digits={digits} is for tokenizer.pattern=gpt4; {pattern!r:.80} says itself how numbers are "
                f"split.\nType tokenizer.digits={DIGITS}, which is as if it was left out, or tokenizer.pattern=gpt4."
            )
        if merges is not None and (vocab_size, seed) != (self.vocab_size, 0):
            log.warning(
                "tokenizer.merges are %d ids in all: vocab_size=%d, train_bytes=%d and seed=%d are for learning them "
                "and not used", self.vocab_size, vocab_size, train_bytes, seed,
            )  # fmt: skip

    def _set_up(
        self,
        *,
        vocab_size: int,
        pattern: str = "gpt4",
        digits: int = DIGITS,
        train_bytes: int,
        seed: int = 0,
        specials: list[str] | None = None,
        merges: str | None = None,
    ) -> None:
        """As typed, or as saved: there specials may have been added to what was trained, and all keys are given."""
        super().__init__(specials=specials)
        self.size, self.pattern, self.digits = vocab_size, pattern, digits
        self.train_bytes, self.seed = train_bytes, seed
        self.regex = split_pattern(pattern, digits)
        self.pairs: list[tuple[int, int]] | None = None
        self._merges: list[Merge] = []
        if merges is not None:
            self._set_pairs(parse_pairs(merges))

    def train(self, texts: Iterable[str]) -> None:
        """Raises RequestError where the corpus holds fewer different pairs than the vocabulary has room for."""
        drawn = sample(counted(texts, "reading for the tokenizer"), max_bytes=self.train_bytes, seed=self.seed)
        wanted = self.size - len(self.special_names)
        log.info("tokenizer=bpe: %d merges on %d characters", wanted - N_BYTES, sum(map(len, drawn)))
        pairs = pairs_of(learn(drawn, wanted, self.regex))
        if N_BYTES + len(pairs) < wanted:
            most = N_BYTES + len(pairs) + len(self.special_names)
            raise RequestError(
                f"tokenizer.vocab_size={self.size} is more than the corpus supports: it gives {len(pairs):,} merges.\n"
                f"Type tokenizer.vocab_size={most} or less, or data.path=<more text>."
            )
        self._set_pairs(pairs)
        self._merges = describe_merges(pairs, words_of(drawn, self.regex), self._encoding.encode_ordinary)

    @property
    def merges(self) -> list[Merge]:
        """Each merge with its count in the sample and the first words it builds; nothing where the file is missing."""
        return self._merges

    def _set_pairs(self, pairs: list[tuple[int, int]]) -> None:
        tokens = [bytes([byte]) for byte in range(N_BYTES)]
        for left, right in pairs:
            tokens.append(tokens[left] + tokens[right])
        self.pairs = pairs
        self._set({token: rank for rank, token in enumerate(tokens)}, self.regex)

    @property
    def trained(self) -> bool:
        return self.pairs is not None

    def _known(self) -> list[tuple[int, int]]:
        if self.pairs is None:
            raise RequestError(
                "tokenizer=bpe has no merges yet: it learns them from the corpus.\n"
                "Type task=prepare (or fit) with data.path=<your text>, or init_from=<a run folder>."
            )
        return self.pairs

    def _ready(self) -> Any:
        self._known()
        return self._encoding

    @property
    def n_text_ids(self) -> int:
        return N_BYTES + len(self._known())

    def settings(self) -> dict[str, Any]:
        return {
            "vocab_size": self.size,
            "pattern": self.pattern,
            "digits": self.digits,
            "train_bytes": self.train_bytes,
            "seed": self.seed,
            "specials": self.special_names,
        }

    def learned(self) -> dict[str, Any]:
        return {"merges": " ".join(f"{left},{right}" for left, right in self._known())}

    def files(self) -> dict[str, bytes]:
        """`merges.tsv` is there to be read; ids do not depend on it."""
        return {VIEW: to_tsv(self._merges).encode("utf-8")} if self._merges else {}

    @classmethod
    def from_state(cls, state: dict[str, Any], folder: Path) -> BPETokenizer:
        tokenizer = cls.__new__(cls)
        tokenizer._set_up(**{key: value for key, value in state.items() if key != "kind"})
        with suppress(OSError, ValueError):  # without it there is less to look at, nothing else
            tokenizer._merges = from_tsv((folder / VIEW).read_text(encoding="utf-8"))
        return tokenizer


def parse_pairs(merges: str) -> list[tuple[int, int]]:
    """Raises RequestError where a merge names an id that does not exist before it."""
    pairs = []
    for i, word in enumerate(merges.split()):
        left, _, right = word.partition(",")
        if not (left.isdecimal() and right.isdecimal() and max(int(left), int(right)) < N_BYTES + i):
            raise RequestError(f"tokenizer.merges: number {i} is {word!r}; expected two ids below {N_BYTES + i}.")
        pairs.append((int(left), int(right)))
    return pairs


def learn(texts: list[str], wanted: int, pattern: str) -> list[bytes]:
    """The first `wanted` different tokens, bytes included; fewer where the texts hold no further pair.

    A trainer may find the same bytes twice, cut differently; a token is known by its bytes, so the first one stays.
    """
    import rustbpe

    more = 0
    while True:
        trainer = rustbpe.Tokenizer()
        with panics_told("tokenizer.pattern: rustbpe"):
            trainer.train_from_iterator(iter(texts), wanted + more, buffer_size=BUFFER, pattern=pattern)
        ranks = trainer.get_mergeable_ranks()
        tokens = list(dict.fromkeys(bytes(token) for token, _ in ranks))
        if len(tokens) >= wanted or len(ranks) < wanted + more:
            return tokens[:wanted]
        more += wanted - len(tokens)


def pairs_of(tokens: list[bytes]) -> list[tuple[int, int]]:
    """The two ids out of which each token beyond the bytes is made."""
    ids = {token: i for i, token in enumerate(tokens)}
    return [made_of(token, ids) for token in tokens[N_BYTES:]]


def made_of(token: bytes, ids: dict[bytes, int]) -> tuple[int, int]:
    """What is left of `token` when its bytes are merged by rank, as encoding does, with the tokens before it."""
    parts, limit = [token[i : i + 1] for i in range(len(token))], ids[token]
    while len(parts) > 2:
        ranks = [ids.get(a + b, limit) for a, b in itertools.pairwise(parts)]
        best = min(ranks)
        if best >= limit:  # it was found between neighbours that took a part of it: any two tokens that make it will do
            cuts = [(token[:i], token[i:]) for i in range(1, len(token))]
            return min((ids[a], ids[b]) for a, b in cuts if max(ids.get(a, limit), ids.get(b, limit)) < limit)
        at = ranks.index(best)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return ids[parts[0]], ids[parts[1]]
