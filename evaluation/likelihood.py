"""Log-probabilities of given continuations, many at once. Shapes: B rows, T tokens.

Rows are padded on the right: what comes after a causal model's token cannot change it, so batched equals one by one.
Logits are computed where a continuation's token is predicted and nowhere else.
"""

from collections.abc import Sequence

import numpy as np
import torch

from models.base import LanguageModel
from models.generation import evaluating
from models.layers.loss import IGNORE


@torch.no_grad()
def continuation_logprobs(
    model: LanguageModel, pairs: Sequence[tuple[np.ndarray, np.ndarray]], *, batch_size: int = 32
) -> np.ndarray:
    """(n,) float64: sum of log p(continuation | prompt) in nats, for each (prompt ids, continuation ids).

    Prompt and continuation must fit the model's context together, less one token.
    """
    device = next(model.parameters()).device
    order = sorted(range(len(pairs)), key=lambda i: -sum(map(len, pairs[i])))  # like lengths together
    found = np.zeros(len(pairs))
    with evaluating(model):
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            ids_BT, targets_BT, real_BT = padded([pairs[i] for i in rows])
            padding_BT = None if bool(real_BT.all()) else real_BT.to(device)
            out = model(ids_BT.to(device), targets_BT=targets_BT.to(device), padding_BT=padding_BT)
            found[rows] = -out.nll_BT.double().sum(1).cpu().numpy()
    return found


def padded(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
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
