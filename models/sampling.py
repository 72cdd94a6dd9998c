"""From logits to one token per row: penalty, temperature, top-k, top-p, min-p, and a draw that can be repeated.

The draw of a row depends on (seed, row, step) alone: a row gets the same text in any batch, and there is no generator
whose state must be kept.

Shapes: B rows, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from errors import RequestError

MASK_64 = 2**64 - 1


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Args:
        temperature: logits are divided by it; 0 takes the likeliest token.
        top_k: only the k likeliest tokens (1805.04833).
        top_p: only the likeliest tokens that together reach this probability (1904.09751).
        min_p: only tokens at least this share as likely as the likeliest (2407.01082).
        repetition_penalty: logits of tokens that occurred already are divided by it where positive, multiplied where
            negative (CTRL, 1909.05858, section 4.1); 1 does nothing.

    Raises:
        RequestError: a setting means nothing.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        rules = {
            "temperature": (self.temperature >= 0, "0 (the likeliest token) or more"),
            "top_k": (self.top_k is None or self.top_k >= 1, "1 or more, or null"),
            "top_p": (self.top_p is None or 0 < self.top_p <= 1, "above 0 and at most 1, or null"),
            "min_p": (self.min_p is None or 0 <= self.min_p <= 1, "from 0 to 1, or null"),
            "repetition_penalty": (self.repetition_penalty > 0, "above 0; 1 does nothing"),
        }
        for key, (holds, expected) in rules.items():
            if not holds:
                raise RequestError(f"{key}={getattr(self, key)}: expected {expected}.")


def check_drawn(sampling: Sampling) -> None:
    """Raises RequestError for a filter of draws where nothing is drawn. Clients of a server send both, and may."""
    named = {"top_p": sampling.top_p, "min_p": sampling.min_p}
    if sampling.temperature == 0 and (idle := [f"{key}={value}" for key, value in named.items() if value is not None]):
        raise RequestError(
            f"temperature=0 takes the likeliest token each time: {' and '.join(idle)} would change nothing.\n"
            "Leave one of them away, or type temperature=0.8."
        )


PLAIN = Sampling()  # from the model as it is
GREEDY = Sampling(temperature=0.0)


def filter_logits(
    logits_BV: Tensor, *, top_k: int | None = None, top_p: float | None = None, min_p: float | None = None
) -> Tensor:
    """-inf for tokens that are not to be drawn; the likeliest always stays."""
    if top_k is not None and top_k < logits_BV.shape[-1]:
        kth = logits_BV.topk(top_k).values[..., -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < kth, -torch.inf)
    if top_p is not None and top_p < 1:
        ordered, order = logits_BV.sort(descending=True)
        probs = ordered.softmax(-1)
        outside = probs.cumsum(-1) - probs >= top_p  # the token that crosses p is still inside
        logits_BV = logits_BV.masked_fill(outside.scatter(-1, order, outside), -torch.inf)
    if min_p is not None and min_p > 0:
        probs = logits_BV.softmax(-1)
        logits_BV = logits_BV.masked_fill(probs < min_p * probs.amax(-1, keepdim=True), -torch.inf)
    return logits_BV


def penalise(logits_BV: Tensor, seen_BV: Tensor, penalty: float) -> Tensor:
    """Less of the tokens marked in `seen_BV` (bool)."""
    lowered = torch.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty)
    return torch.where(seen_BV, lowered, logits_BV)


def choose(logits_BV: Tensor, how: Sampling, uniform_B: Tensor) -> tuple[Tensor, Tensor]:
    """Token ids (B,) and their log-probabilities (B,) under the distribution that they were drawn from.

    At temperature 0 nothing is drawn; the log-probability is then the one at temperature 1.
    """
    logits_BV = logits_BV.float()
    if how.temperature == 0:
        token_B = logits_BV.argmax(-1)
        chosen = logits_BV.gather(-1, token_B.unsqueeze(-1)).squeeze(-1)
        return token_B, chosen - logits_BV.logsumexp(-1)
    logprobs_BV = distribution(logits_BV, how)
    token_B = draw(logprobs_BV.exp(), uniform_B)
    return token_B, logprobs_BV.gather(-1, token_B.unsqueeze(-1)).squeeze(-1)


def distribution(logits_BV: Tensor, how: Sampling) -> Tensor:
    """(B, V) log-probabilities that a token is drawn from; at temperature 0, where none is drawn, the model's own."""
    logits_BV = logits_BV.float()
    if how.temperature == 0:
        return logits_BV.log_softmax(-1)
    scaled_BV = logits_BV if how.temperature == 1 else logits_BV / how.temperature
    return filter_logits(scaled_BV, top_k=how.top_k, top_p=how.top_p, min_p=how.min_p).log_softmax(-1)


def draw(probs_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """The first token whose cumulated probability exceeds the row's uniform number: never one of probability 0."""
    exact = probs_BV if probs_BV.device.type == "mps" else probs_BV.double()
    cumulated = exact.cumsum(-1)
    wanted = uniform_B.to(cumulated).unsqueeze(-1) * cumulated[:, -1:]
    token_B = torch.searchsorted(cumulated, wanted, right=True).squeeze(-1)
    if (token_B == probs_BV.shape[-1]).any():  # rounding led beyond the last possible one
        last = (probs_BV > 0).long().cumsum(-1).argmax(-1)
        token_B = token_B.minimum(last)
    return token_B


def uniform(seed: int, row: int, step: int, what: int = 0) -> float:
    """A number in [0, 1) that is a function of its arguments; splitmix64's finaliser. `what`: it is drawn for."""
    x = seed * 0x9E3779B97F4A7C15 + row * 0x94D049BB133111EB + step * 0xBF58476D1CE4E5B9 + 0x632BE59BD9B4E019
    x = (x + what * 0xD6E8FEB86659FD93) & MASK_64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK_64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK_64
    return ((x ^ (x >> 31)) >> 40) / 2**24  # 24 bits: exact in fp32 too
