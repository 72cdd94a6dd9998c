"""SentencePiece: BPE or unigram pieces trained on the corpus; or a `.model` file that exists already.

Kudo & Richardson 2018, https://arxiv.org/abs/1808.06226; unigram: Kudo 2018, https://arxiv.org/abs/1804.10959.

As set here nothing is lost: no normalisation, no blank put in front, blanks kept, bytes for characters without a piece.
SentencePiece writes a space as U+2581, so a text that holds that character would come back with spaces: here it is
spelled in bytes. Whatever is lost under other settings is counted after training and said.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from bounds import PositiveInt, Seed
from errors import RequestError
from tokenization.base import Tokenizer, utf8
from tokenization.pieces import sample
from tokenization.progress import counted
from tokenization.round_trip import lost_bytes

log = logging.getLogger(__name__)
MODEL = "sentencepiece.model"
BLANK = "\u2581"
RESERVED = re.compile(r"[\n\r\t\0\u2581\u2585]+")  # the trainer passes over sentences with some of these
SENTENCE_CHARS = 1 << 12  # longer sentences are cut; the trainer would leave them out without a word
PROBE_BYTES = 1 << 20  # of text that is encoded and decoded after training
OURS = {
    *("sentence_iterator", "model_writer", "model_prefix", "input", "vocab_size", "model_type", "byte_fallback"),
    *("normalization_rule_name", "add_dummy_prefix", "remove_extra_whitespaces"),
}


class SentencePieceTokenizer(Tokenizer):
    """`vocab_size` counts all ids, specials included. `options`: any further option of SentencePiece's trainer.

    `model`: a `.model` file to use as it is, whose settings then hold. Its control pieces are specials.
    """

    kind: ClassVar[str] = "sentencepiece"

    def __init__(
        self,
        *,
        vocab_size: PositiveInt,
        algorithm: Literal["bpe", "unigram"],
        byte_fallback: bool,
        normalization: Literal["identity", "nfkc", "nmt_nfkc", "nfkc_cf", "nmt_nfkc_cf"],
        dummy_prefix: bool,
        merge_blanks: bool,
        train_bytes: PositiveInt,
        seed: Seed = 0,
        options: dict[str, Any] | None = None,
        specials: list[str] | None = None,
        model: str | None = None,
    ):
        """Raises RequestError for an option that is a key of its own here, or a file that is no model."""
        super().__init__(specials=specials)
        if wrong := sorted(OURS & set(options or {})):
            raise RequestError(
                f"tokenizer.options.{wrong[0]} is set by this program: see vocab_size, algorithm, byte_fallback,"
                " normalization, dummy_prefix, merge_blanks."
            )
        self.size, self.algorithm, self.byte_fallback = vocab_size, algorithm, byte_fallback
        self.normalization, self.dummy_prefix, self.merge_blanks = normalization, dummy_prefix, merge_blanks
        self.train_bytes, self.seed, self.options = train_bytes, seed, dict(options or {})
        self._model: bytes | None = None
        if model is not None:
            self._set(read_model(model), model)

    def train(self, texts: Iterable[str]) -> None:
        """Raises RequestError where the corpus is empty, or does not support the vocabulary."""
        drawn = sample(counted(texts, "reading for the tokenizer"), max_bytes=self.train_bytes, seed=self.seed)
        if not any(True for _ in sentences(drawn)):
            raise RequestError(
                "tokenizer=sentencepiece found no text in the corpus. Type data.path=<a file with text>."
            )
        log.info("tokenizer=sentencepiece: training on %d characters", sum(map(len, drawn)))
        self._set(self._learn(drawn), "the trained model")
        self.report_loss(drawn)

    def _learn(self, drawn: list[str]) -> bytes:
        import sentencepiece

        written, n_specials = io.BytesIO(), len(self.special_names)
        settings = {
            "vocab_size": self.size - n_specials,
            "model_type": self.algorithm,
            "byte_fallback": self.byte_fallback,
            "normalization_rule_name": self.normalization,
            "add_dummy_prefix": self.dummy_prefix,
            "remove_extra_whitespaces": self.merge_blanks,
            "max_sentence_length": 4 * SENTENCE_CHARS,
            **{"unk_id": 0, "bos_id": -1, "eos_id": -1, "pad_id": -1, "minloglevel": 2},
        }
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=sentences(drawn), model_writer=written, **settings | self.options
            )
        except (RuntimeError, ValueError, TypeError, OSError) as error:
            raise RequestError(explain(str(error), self.size, n_specials)) from None
        return written.getvalue()

    def _set(self, model: bytes, name: str) -> None:
        import sentencepiece

        processor = sentencepiece.SentencePieceProcessor()
        try:
            processor.LoadFromSerializedProto(model)
            n = processor.vocab_size()
        except RuntimeError:
            n = 0
        if n == 0:
            raise RequestError(f"tokenizer.model={name} holds no SentencePiece model. Give a .model file.")
        self._model, self._processor = model, processor
        self._own = {processor.id_to_piece(i): i for i in range(n) if processor.is_control(i)}
        self._sizes = np.array([size_of(processor, i) for i in range(n)], dtype=np.int64)  # (n,)
        self._separators = separators(processor)
        self._cut = re.compile(f"([{''.join(self._separators)}])") if self._separators else None

    def _known(self) -> Any:
        if self._model is None:
            raise RequestError(
                "tokenizer=sentencepiece has no pieces yet: it learns them from the corpus.\n"
                "Type task=prepare (or fit) with data.path=<your text>, or init_from=<a run folder>."
            )
        return self._processor

    @property
    def trained(self) -> bool:
        return self._model is not None

    @property
    def n_text_ids(self) -> int:
        return self._known().vocab_size()

    @property
    def own_specials(self) -> dict[str, int]:
        self._known()
        return self._own

    def encode(self, text: str) -> np.ndarray:
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str], *, threads: int = 1) -> list[np.ndarray]:
        processor = self._known()
        clean = [utf8(text).decode("utf-8") for text in texts]
        parts = [self._cut.split(text) if self._cut else [text] for text in clean]  # text, separator, text, ...
        jobs = [part for pieces in parts for part in pieces[::2]]
        encoded = iter(processor.encode(jobs, num_threads=threads) if jobs else [])
        found = []
        for pieces in parts:
            ids: list[int] = next(encoded)
            for separator in pieces[1::2]:
                ids += self._separators[separator]
                ids += next(encoded)
            found.append(np.array(ids, dtype=np.int64))
        return found

    def _decode_text(self, ids: np.ndarray) -> str:
        return self._known().decode(ids.tolist())

    def _pieces_of_text(self) -> list[bytes | None]:
        processor = self._known()
        return [piece_of(processor, i) for i in range(processor.vocab_size())]

    def token_bytes(self) -> np.ndarray:
        self._known()
        return np.concatenate([self._sizes, np.zeros(self.vocab_size - len(self._sizes), dtype=np.int64)])

    @property
    def whole_documents(self) -> bool:
        """A piece that crosses lines, or what the settings put in front of a text: see `separators`."""
        return self.trained and "\n" not in self._separators

    def report_loss(self, texts: list[str]) -> None:
        """Say how much of the text does not come back (N14)."""
        lost, total = lost_bytes(self, sample(texts, max_bytes=PROBE_BYTES, seed=self.seed))
        if lost:
            log.warning(
                "tokenizer=sentencepiece: %.2f %% of the bytes do not come back from their ids (%d of %d). "
                "byte_fallback=true normalization=identity dummy_prefix=false merge_blanks=false lose none.",
                *(100 * lost / total, lost, total),
            )

    def settings(self) -> dict[str, Any]:
        return {
            "vocab_size": self.size,
            "algorithm": self.algorithm,
            "byte_fallback": self.byte_fallback,
            "normalization": self.normalization,
            "dummy_prefix": self.dummy_prefix,
            "merge_blanks": self.merge_blanks,
            "train_bytes": self.train_bytes,
            "seed": self.seed,
            "options": self.options,
            "specials": self.special_names,
        }

    def learned(self) -> dict[str, Any]:
        self._known()
        return {"sha256": hashlib.sha256(self._model or b"").hexdigest()}

    def files(self) -> dict[str, bytes]:
        self._known()
        return {MODEL: self._model or b""}

    @classmethod
    def from_state(cls, state: dict[str, Any], folder: Path) -> SentencePieceTokenizer:
        """Raises RequestError if the model beside is not the one that was saved."""
        settings = {key: value for key, value in state.items() if key not in ("kind", "sha256")}
        tokenizer = cls(**settings, model=str(folder / MODEL))
        if tokenizer.learned()["sha256"] != state["sha256"]:
            raise RequestError(f"{folder / MODEL} was changed after it was saved. Take it from another run.")
        return tokenizer


def sentences(texts: Iterable[str]) -> Iterator[str]:
    """What the trainer takes as sentences: lines, without the characters at which it would pass one over."""
    for text in texts:
        for line in RESERVED.split(utf8(text).decode("utf-8")):
            for start in range(0, len(line), SENTENCE_CHARS):
                yield line[start : start + SENTENCE_CHARS]


def separators(processor: Any) -> dict[str, list[int]]:
    """Characters at which a text may be cut before it is encoded, and the ids to put there.

    U+2581, so that it comes back; and the end of a line where no piece crosses it: on long texts SentencePiece's BPE
    is slow, and unigram's scores are summed in 32 bits, in which small differences get lost. Both only where the
    settings lose nothing and put nothing in front of a text; otherwise it goes to SentencePiece as it is.
    """
    spelled = [processor.piece_to_id(f"<0x{byte:02X}>") for byte in BLANK.encode("utf-8")]
    probe = "  a  b \n "
    puts_blank = processor.id_to_piece(processor.encode("b")[0]).startswith(BLANK)
    loses = not all(map(processor.is_byte, spelled)) or processor.decode(processor.encode(probe)) != probe
    if puts_blank or loses:
        return {}
    crossing = any("\n" in processor.id_to_piece(i) for i in range(processor.vocab_size()))
    return {BLANK: spelled} | ({} if crossing else {"\n": processor.encode("\n")})


def piece_of(processor: Any, i: int) -> bytes | None:
    """What a piece writes; None for control pieces, those that are never used, and the unknown one."""
    if processor.is_control(i) or processor.is_unknown(i) or processor.is_unused(i):
        return None
    piece = processor.id_to_piece(i)
    return bytes.fromhex(piece[3:5]) if processor.is_byte(i) else piece.replace(BLANK, " ").encode("utf-8")


def size_of(processor: Any, i: int) -> int:
    """UTF-8 bytes of text that a piece stands for; an unknown character counts as one."""
    if processor.is_control(i):
        return 0
    if processor.is_byte(i) or processor.is_unknown(i):
        return 1
    return len(processor.id_to_piece(i).replace(BLANK, " ").encode("utf-8"))


def read_model(name: str) -> bytes:
    try:
        return Path(name).expanduser().read_bytes()
    except OSError as error:
        raise RequestError(f"tokenizer.model={name}: {error.strerror}. Expected a SentencePiece .model file.") from None


def explain(message: str, size: int, n_specials: int) -> str:
    """SentencePiece's own error in the words of our keys."""
    if found := re.search(r"Vocabulary size too high .* <= (\d+)", message):
        most = int(found[1]) + n_specials
        return (
            f"tokenizer.vocab_size={size} is more than the corpus supports.\n"
            f"Type tokenizer.vocab_size={most} or less, or data.path=<more text>."
        )
    if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        least = int(found[1]) + n_specials
        return (
            f"tokenizer.vocab_size={size} has no room for the characters of the corpus and what every vocabulary has.\n"
            f"Type tokenizer.vocab_size={least} or more, or a smaller tokenizer.options.character_coverage."
        )
    if found := re.search(r'unknown field name "(\w+)"', message):
        return f"tokenizer.options.{found[1]}: SentencePiece's trainer has no such option."
    return f"tokenizer=sentencepiece could not be trained: {message.rpartition('] ')[2].strip()}"
