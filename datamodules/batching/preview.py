"""What of an example is learned, token by token: for the eye (N26) and for task=inspect."""

from __future__ import annotations

import torch

from batch import IGNORE
from tokenization.base import Tokenizer
from tokenization.chat import Rendered

GREEN, PLAIN = "\033[32m", "\033[0m"


def marked(tokenizer: Tokenizer, example: Rendered, *, colour: bool) -> str:
    """The text, what is learned in green, or without colour between [[ and ]]."""
    begin, end = (GREEN, PLAIN) if colour else ("[[", "]]")
    text, i = "", 0
    while i < len(example.ids):
        j = i
        while j < len(example.ids) and example.mask[j] == example.mask[i]:
            j += 1
        part = tokenizer.decode(example.ids[i:j])
        text += f"{begin}{part}{end}" if example.mask[i] else part
        i = j
    return text


def tokens_with_weights(tokenizer: Tokenizer, micro: dict[str, torch.Tensor]) -> list[list[tuple[str, int, float]]]:
    """For each row of a micro-batch: (text, id, weight) of every token; weight is that of its loss as a target.

    The weight stands beside the token that is predicted: one place to the right of where "targets" has it.
    """
    rows, text = [], tokenizer.texts_of_ids()
    weights_BT = micro.get("weights", torch.ones_like(micro["targets"], dtype=torch.float32))
    for ids, targets, weights in zip(micro["ids"], micro["targets"], weights_BT, strict=True):
        learned = torch.where(targets != IGNORE, weights, 0.0).tolist()
        beside = [0.0, *learned]  # the loss of target t is that of token t + 1
        sequence = [*ids.tolist(), int(targets[-1]) if targets[-1] != IGNORE else None]
        rows.append([(text(i), i, w) for i, w in zip(sequence, beside, strict=True) if i is not None])
    return rows
