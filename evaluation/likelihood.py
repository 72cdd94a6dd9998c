"""Log-probabilities of given continuations, many at once. Shapes: B rows, T tokens.

Rows are padded on the right: what comes after a causal model's token cannot change it, so batched equals one by one.
Logits are computed where a continuation's token is predicted and nowhere else.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from batch import IGNORE
from models.base import LanguageModel
from models.generation import evaluating

Pair = tuple[np.ndarray, np.ndarray]  # ids of a prompt and of what follows it


class Likelihood(NamedTuple):
    """Of a continuation: its log-probability, whether each of its tokens was the likeliest one, and the log-probability
    of the one that was least likely."""

    logprob: float
    greedy: bool
    least: float


def continuation_logprobs(model: LanguageModel, pairs: Sequence[Pair], *, batch_size: int = 32) -> np.ndarray:
    """(n,) float64: sum of log p(continuation | prompt) in nats, for each (prompt ids, continuation ids).

    Prompt and continuation must fit the model's context together, less one token.
    """
    return np.array([found.logprob for found in continuation_scores(model, pairs, batch_size=batch_size)])


@torch.no_grad()
def continuation_scores(model: LanguageModel, pairs: Sequence[Pair], *, batch_size: int = 32) -> list[Likelihood]:
    """How likely each continuation is, in nats; of an empty one all is 0."""
    device = next(model.parameters()).device
    order = sorted(range(len(pairs)), key=lambda i: -sum(map(len, pairs[i])))  # like lengths together
    found = [Likelihood(0.0, True, 0.0)] * len(pairs)
    with evaluating(model):
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            ids_BT, targets_BT, real_BT = (tensor.to(device) for tensor in padded([pairs[i] for i in rows]))
            inputs = model.inputs_of({"ids": ids_BT, "targets": targets_BT, "padding": real_BT})
            read = {name: value for name, value in inputs.items() if name not in ("targets_BT", "padding_BT")}
            hidden_BTC = model(**read, padding_BT=None if bool(real_BT.all()) else real_BT).hidden_BTC
            counted_BT = targets_BT != IGNORE
            logprobs_NV = model.logits_of(hidden_BTC[counted_BT]).float().log_softmax(-1)  # N counted tokens
            targets_N, row_N = targets_BT[counted_BT], counted_BT.nonzero()[:, 0]
            picked_N = logprobs_NV.gather(1, targets_N[:, None])[:, 0].double()
            missed_N = (logprobs_NV.argmax(-1) != targets_N).double()
            sums = torch.zeros(2, len(rows), dtype=torch.float64, device=device)
            sums.index_add_(1, row_N, torch.stack([picked_N, missed_N]))
            least_B = sums.new_zeros(len(rows)).scatter_reduce(0, row_N, picked_N, "amin")
            for i, score, misses, least in zip(rows, *sums.tolist(), least_B.tolist(), strict=True):
                found[i] = Likelihood(score, misses == 0, least)
    return found


def rolling_pairs(ids: np.ndarray, start: int, context: int) -> list[Pair]:
    """A whole text as pairs: windows side by side, each token predicted once, from what its window holds before it.

    The first window begins with the id `start`, the last one reaches back over what was counted, to be full; so does
    EleutherAI's harness. Args: ids: (n,) of the text. context: most tokens that the model reads.
    """
    pairs = []
    for begin in range(0, len(ids), context):
        end = min(begin + context, len(ids))
        before = ids[max(0, end - 1 - context) : begin] if begin else np.array([start], dtype=ids.dtype)
        pairs.append((before, ids[begin:end]))
    return pairs


def padded(pairs: Sequence[Pair]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """ids (B, T); targets (B, T), IGNORE but where a continuation's token follows; (B, T) True at real tokens."""
    T = max(len(prompt) + len(answer) for prompt, answer in pairs) - 1
    ids_BT = torch.zeros(len(pairs), T, dtype=torch.long)
    targets_BT, real_BT = torch.full_like(ids_BT, IGNORE), torch.zeros_like(ids_BT, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(pairs):
        whole = torch.from_numpy(np.concatenate([prompt, answer]).astype(np.int64))
        n = len(whole) - 1
        ids_BT[row, :n], real_BT[row, :n] = whole[:-1], True
        targets_BT[row, len(prompt) - 1 : n] = whole[len(prompt) :]
    return ids_BT, targets_BT, real_BT
