"""Span corruption, T5's pretraining (Raffel et al. 2020, 1910.10683): spans of a text are cut out, and are the answer.

    text      Thank you for inviting me to your party last week
    source    Thank you <extra_id_0> me to your party <extra_id_1> week </s>
    answer    <pad> <extra_id_0> for inviting <extra_id_1> last </s>

A window of n tokens loses round(n * density) of them in round(noise / mean_span) spans; borders of what is kept and of
what is cut are drawn evenly. A text begins with what is kept and ends with a span, as in T5's own code. Windows run
across documents, as there. Validation cuts a window the same way each time: its spans depend on its tokens alone.
"""

import zlib
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from batch import IGNORE, Batch
from bounds import OpenShare, at_least
from errors import RequestError
from lightning_modules.base import LanguageModule, Start
from models.base import Output
from tokenization.base import Tokenizer
from tokenization.chat import PAD, with_specials

SENTINELS = tuple(f"<extra_id_{i}>" for i in range(100))  # T5's own names and number


class Lengths(NamedTuple):
    """Of a window: tokens cut out, in so many spans; what encoder and decoder get, ends included."""

    noise: int
    spans: int
    source: int
    answer: int


def lengths_of(n: int, density: float, mean_span: float) -> Lengths:
    """What becomes of a window of `n` tokens; something is always cut and something kept."""
    noise = min(max(round(n * density), 1), n - 1)
    spans = min(max(round(noise / mean_span), 1), noise, n - noise)
    return Lengths(noise, spans, n - noise + spans + 1, noise + spans + 1)


def noise_mask(n: int, lengths: Lengths, rng: np.random.Generator) -> np.ndarray:
    """(n,) bool, True where the text is cut out: `spans` stretches, each after one that is kept."""
    kept = random_parts(n - lengths.noise, lengths.spans, rng)
    cut = random_parts(lengths.noise, lengths.spans, rng)
    return np.repeat(np.tile([False, True], lengths.spans), np.stack([kept, cut], axis=1).reshape(-1))


def random_parts(total: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """(parts,) positive lengths that add up to `total`, each way of cutting it as likely."""
    borders = np.sort(rng.choice(total - 1, parts - 1, replace=False)) + 1 if parts > 1 else np.zeros(0, np.int64)
    return np.diff(np.concatenate([[0], borders, [total]]))


def with_sentinels(ids: np.ndarray, out: np.ndarray, sentinels: np.ndarray) -> np.ndarray:
    """`ids` (n,) with a sentinel in the place of each stretch in which `out` (n,) is True: 0, 1, ... in turn."""
    first = out & ~np.concatenate([[False], out[:-1]])
    return np.where(first, sentinels[np.maximum(first.cumsum() - 1, 0)], ids)[~out | first]


def corrupted_row(ids: np.ndarray, mask: np.ndarray, sentinels: np.ndarray, *, start: int, end: int) -> tuple[Any, Any]:
    """Inputs and targets of one window, (m,) each: source, end, start, answer, and the answer with its end."""
    source = [*with_sentinels(ids, mask, sentinels), end]
    answer = [*with_sentinels(ids, ~mask, sentinels), end]
    return [*source, start, *answer[:-1]], [*[IGNORE] * len(source), *answer]


class SpanCorruptionModule(LanguageModule):
    """Mean negative log-likelihood of what was cut out and the sentinels that name it.

    Args:
        density: share of the tokens that is cut out. mean_span: mean length of a span.
    """

    needs = ("tokens",)

    def __init__(
        self,
        *,
        tokenizer: Any,
        density: OpenShare = 0.15,
        mean_span: Annotated[float, at_least(1)] = 3.0,
        **common: Any,
    ):
        super().__init__(**common)
        self.density, self.mean_span = density, mean_span
        self.start, self.end = tokenizer.specials[PAD], tokenizer.eot
        self.sentinels = np.array([tokenizer.specials[name] for name in SENTINELS])

    @classmethod
    def prepare_tokenizer(cls, tokenizer: Tokenizer) -> Tokenizer:
        return with_specials(tokenizer, (PAD, *SENTINELS))

    def begin(self, start: Start) -> None:
        """Raises RequestError where a window is too short, or has more spans than there are sentinels."""
        n = start.data.seq_len
        if n < 2:
            raise RequestError(f"data.seq_len={n}: a window needs two tokens for one to be cut out.")
        if (spans := lengths_of(n, self.density, self.mean_span).spans) > len(SENTINELS):
            raise RequestError(
                f"a window of {n} tokens has {spans} spans, and there are {len(SENTINELS)} sentinels.\n"
                f"Type a shorter data.seq_len, or objective.mean_span={self.mean_span * 2:g}."
            )

    def before_update(self, batch: list[Batch]) -> None:
        step = self.trainer.global_step
        for i, micro in enumerate(batch):
            self._corrupt(micro, [self.seed, step, self.global_rank, i])

    def loss(self, micro: Batch) -> Output:
        return self.model(**self.model.inputs_of(micro), sparse_targets=True)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._corrupt(batch, None)
        super().validation_step(batch, batch_idx)

    def _corrupt(self, micro: Batch, seed: list[int] | None) -> None:
        """Replaces the batch's windows, in place; without a seed the spans of a window follow from its tokens."""
        ids_BT, device = micro["ids"].cpu().numpy(), micro["ids"].device
        n = ids_BT.shape[1]
        lengths = lengths_of(n, self.density, self.mean_span)
        rng = None if seed is None else np.random.default_rng(seed)
        rows = []
        for ids in ids_BT:
            drawn = np.random.default_rng(zlib.crc32(ids.tobytes())) if rng is None else rng
            mask = noise_mask(n, lengths, drawn)
            rows.append(corrupted_row(ids, mask, self.sentinels, start=self.start, end=self.end))
        filled = micro["targets"].ne(IGNORE).any(1)  # not the rows that only fill up a batch
        both: list[Tensor] = [torch.tensor(np.array(side), device=device) for side in zip(*rows, strict=True)]
        kept = {name: micro[name] for name in micro if name not in ("ids", "targets", "documents", "document_index")}
        micro.clear()
        micro |= kept | {"ids": both[0], "targets": both[1].masked_fill(~filled.unsqueeze(1), IGNORE)}

    def farewell(self) -> dict[str, str | None]:
        return {
            "sample": None,
            "evaluate": None,
            "tune it": "python run.py objective=sft init_from={run} optimizer=adamw_t5",
        }
