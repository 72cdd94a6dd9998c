"""Text from a model, a token at a time: temperature, top-k, top-p, seeded.

Shapes: B sequences, T tokens, V vocabulary.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from models.base import LanguageModel
from models.layers.attention import KVCache


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode inside, and afterwards each submodule in the mode it had before."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def filter_logits(logits_BV: Tensor, *, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """-inf outside the k likeliest tokens, and outside the smallest set whose probability reaches p (1904.09751)."""
    if top_k is not None:
        kth = logits_BV.topk(min(top_k, logits_BV.shape[-1])).values[..., -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < kth, -torch.inf)
    if top_p is not None:
        ordered, order = logits_BV.sort(descending=True)
        probs = ordered.softmax(-1)
        outside = probs.cumsum(-1) - probs >= top_p  # the token that crosses p is still inside
        logits_BV = logits_BV.masked_fill(outside.scatter(-1, order, outside), -torch.inf)
    return logits_BV


def sample(logits_BV: Tensor, *, temperature: float, generator: torch.Generator | None, **filters) -> Tensor:
    """One token id (B,) for each row; temperature 0 takes the likeliest."""
    if temperature == 0:
        return logits_BV.argmax(-1)
    probs = filter_logits(logits_BV.float() / temperature, **filters).softmax(-1)
    return torch.multinomial(probs, 1, generator=generator).squeeze(-1)


@torch.no_grad()
def generate(
    model: LanguageModel,
    ids_BT: Tensor,
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    stop: int | None = None,
) -> Iterator[Tensor]:
    """Yields the next token id (B,) up to `max_new_tokens` times; ends early once every row has produced `stop`.

    Past the context the window slides: the oldest half of it is dropped and the rest read again, so that reading
    costs little per token.
    """
    seen = ids_BT[:, -model.seq_len :]
    cache, fresh = KVCache(model.n_layer), seen
    ended = torch.zeros(len(ids_BT), dtype=torch.bool, device=ids_BT.device)
    for _ in range(max_new_tokens):
        with evaluating(model):
            logits = model(fresh, cache=cache, logits="last").logits[:, -1]  # (B, V)
        token = sample(logits, temperature=temperature, generator=generator, top_k=top_k, top_p=top_p)
        yield token
        if stop is not None:
            ended |= token == stop
            if bool(ended.all()):
                return
        fresh = token.unsqueeze(1)
        seen = torch.cat([seen, fresh], dim=1)
        if cache.length == model.seq_len:
            seen = seen[:, -max(1, model.seq_len // 2) :]
            cache, fresh = KVCache(model.n_layer), seen
