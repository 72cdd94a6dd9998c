"""How well a model predicts far past the context that it was trained for, and what becomes of the cache on the way.

A text is read as a stream, `step` tokens at a time. Once the context is full, half of it is given up:

    reread    the newer half is read again from position 0, as task=generate does
    slide     keys and values of the older half are forgotten; the others stay, turned back to where they stand now.
              Reserved sink tokens are kept
    first     the same, and the text's first tokens are kept like reserved ones (StreamingLLM, 2309.17453)
    grow      nothing is given up: positions and attention go where training never was

Shapes: B texts, T tokens of a text.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from errors import RequestError
from evaluation.intervals import Estimate, ratio_interval
from models.base import LanguageModel
from models.generation import evaluating
from models.layers.cache import KVCache

FIRST = 4  # tokens that `first` keeps; StreamingLLM, table 2: four are enough


class Span(NamedTuple):
    """Perplexity of the tokens at positions `start` to `end` of their texts."""

    start: int
    end: int
    perplexity: Estimate


def ways(model: LanguageModel) -> list[str]:
    """What can be done with the cache of this model."""
    if ropes(model) is None:
        return ["reread"]  # a learned position is mixed into keys and values for good
    return ["reread", "slide", "grow"] if model.n_sink else ["reread", "slide", "first", "grow"]


def ropes(model: LanguageModel) -> list[Any] | None:
    """The rotation of each layer, None where a model has another kind of position."""
    found = [getattr(getattr(block, "attention", None), "rope", None) for block in getattr(model, "blocks", [])]
    return found if found and None not in found else None


@torch.no_grad()
def streamed_nll(model: LanguageModel, ids_BT: Tensor, *, context: int, way: str) -> np.ndarray:
    """(B, T - 1) nats of each token but the first, given all that is still remembered.

    Args:
        model: with positions for T tokens where the way is grow. context: tokens that are remembered at most.
    """
    half, keep = context // 2, model.n_sink + (FIRST if way == "first" else 0)
    inputs_BT, targets_BT = ids_BT[:, :-1], ids_BT[:, 1:]
    T, cache, found = inputs_BT.shape[1], KVCache(model.n_layer), []
    with evaluating(model):
        for start in range(0, T, half):
            if way != "grow" and cache.length - model.n_sink + half > context:
                cache = given_up(model, cache, inputs_BT[:, :start], half=half, keep=keep, reread=way == "reread")
            part = slice(start, start + half)
            found.append(model(inputs_BT[:, part], targets_BT=targets_BT[:, part], cache=cache).nll_BT)
    return torch.cat(found, dim=1).double().cpu().numpy()


def given_up(model: LanguageModel, cache: KVCache, seen_BT: Tensor, *, half: int, keep: int, reread: bool) -> KVCache:
    """The cache with the older half of its tokens given up, but for the first `keep` slots."""
    if reread:
        fresh = KVCache(model.n_layer)
        model(seen_BT[:, -half:], cache=fresh)
        return fresh
    n = cache.length - model.n_sink - half
    cache.forget(n, keep=keep)
    for layer, rope in enumerate(ropes(model) or []):
        cache.turn_back(layer, n, rope, keep=keep)
    return cache


def text_starts(tokens: int, *, length: int, most: int, context: int) -> np.ndarray:
    """(B,) where texts of `length` + 1 tokens begin, spread evenly over `tokens`.

    Raises:
        RequestError: there is less than one such text, or nothing past the context.
    """
    if length <= context:
        raise RequestError(
            f"evaluate.past_context={length}: the model's context is {context} tokens already.\n"
            f"Type evaluate.past_context={8 * context}."
        )
    n = min(most, tokens // (length + 1))
    if n == 0:
        raise RequestError(
            f"evaluate.past_context={length}: the validation side has {tokens:,} tokens, less than one such text.\n"
            "Ask for fewer, or give data.path a longer text."
        )
    return np.linspace(0, tokens - length - 1, n).astype(np.int64)


def spans(nll_BT: np.ndarray, *, context: int, seed: int = 0) -> list[Span]:
    """Perplexity within the context, up to twice, four times, ... of it; intervals over texts."""
    T = nll_BT.shape[1]
    ends = [context]
    while ends[-1] < T:
        ends.append(min(2 * ends[-1], T))
    found = []
    for start, end in zip([0, *ends], ends, strict=False):
        loss = ratio_interval(nll_BT[:, start:end].sum(1), np.full(len(nll_BT), end - start), seed=seed)
        found.append(Span(start, end, Estimate(*np.exp(np.minimum(loss, 700.0)).tolist())))
    return found
