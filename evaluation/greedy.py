"""Answers to many prompts at once, the likeliest token each time.

Shapes: B prompts, P longest prompt, S slots (prompt and answer so far), V vocabulary.
"""

from collections.abc import Sequence

import numpy as np
import torch

from models.base import LanguageModel
from models.generation import evaluating
from models.layers.cache import KVCache


def greedy_answers(
    model: LanguageModel,
    prompts: Sequence[np.ndarray],
    *,
    max_new_tokens: int,
    stop: int,
    batch_size: int,
    device: torch.device,
) -> list[list[int]]:
    """The ids after each prompt, up to `stop` (left out). Prompts of like length share a batch."""
    answers: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    with torch.no_grad(), evaluating(model):
        for at in range(0, len(order), batch_size):
            rows = order[at : at + batch_size]
            found = _batch(model, [prompts[i] for i in rows], max_new_tokens, stop, device)
            for i, answer in zip(rows, found, strict=True):
                answers[i] = answer
    return answers


def _batch(
    model: LanguageModel, prompts: list[np.ndarray], max_new_tokens: int, stop: int, device: torch.device
) -> list[list[int]]:
    longest = max(map(len, prompts))
    steps = min(max_new_tokens, model.seq_len - longest)
    ids_BP = torch.zeros(len(prompts), longest, dtype=torch.int64)
    padding_BS = torch.zeros(len(prompts), longest + max(0, steps), dtype=torch.bool)
    padding_BS[:, longest:] = True
    for row, prompt in enumerate(prompts):  # padded on the left
        ids_BP[row, longest - len(prompt) :] = torch.from_numpy(prompt)
        padding_BS[row, longest - len(prompt) : longest] = True
    padding_BS, fresh, cache = padding_BS.to(device), ids_BP.to(device), KVCache(model.n_layer)
    ended = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    tokens = []
    for step in range(steps):
        out = model(fresh, padding_BT=padding_BS[:, : longest + step], cache=cache, logits="last")
        token = out.logits[:, -1].argmax(-1)
        tokens.append(token)
        ended |= token == stop
        if bool(ended.all()):
            break
        fresh = token.unsqueeze(1)
    rows = torch.stack(tokens, dim=1).tolist() if tokens else [[] for _ in prompts]
    return [row[: row.index(stop)] if stop in row else row for row in rows]
