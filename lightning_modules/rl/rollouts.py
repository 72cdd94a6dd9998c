"""Rollouts: what the policy answered, as a batch (its keys: batch.py).

Shapes: P prompts, G answers to each, N = P G rows, T tokens; padded on the right.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from batch import IGNORE, Batch
from models.base import LanguageModel
from models.generation import Completion, generate
from models.guides import MakeGuide
from models.sampling import Sampling

# beside ranks, in the place of one: draws of rollouts, of validation and of minibatches share nothing (N62)
ROLLOUT, HELD_OUT, MINIBATCH = 1 << 20, (1 << 20) + 1, (1 << 20) + 2


class Drawing(NamedTuple):
    """How answers are drawn. Nothing is cut off the distribution (top-k, top-p): it is the one that is learned (N50).

    Args:
        rows: answers written at a time; end: the id that ends one. guide: of tools, which write parts of an answer.
    """

    max_new_tokens: int
    temperature: float
    end: int
    rows: int = 512
    guide: MakeGuide | None = None


def roll_out(
    model: LanguageModel, prompts: Sequence[Sequence[int]], how: Drawing, *, n: int, seed: int, numbers: Sequence[int]
) -> tuple[Batch, list[Completion]]:
    """`n` answers to each prompt, side by side: ids, targets, lengths, generated, asked, stopped; and the answers.

    Args:
        numbers: of the prompts among those of all ranks: what is drawn depends on them, not on the rank.
    """
    groups = generate(
        model,
        prompts,
        max_new_tokens=how.max_new_tokens,
        sampling=Sampling(temperature=how.temperature),
        n=n,
        seed=seed,
        stop_ids=[how.end],
        batch_size=how.rows,
        numbers=numbers,
        guide=how.guide,
    )
    answers = [answer for group in groups for answer in group]
    rows = padded([list(prompt) for prompt in prompts for _ in range(n)], answers)
    return rows | {"asked": torch.tensor(list(numbers)).repeat_interleave(n)}, answers


def padded(prompts: Sequence[list[int]], answers: Sequence[Completion]) -> Batch:
    """One row an answer. Targets are what was chosen, the end included (N51); neither the prompt nor padding is, nor
    what a tool wrote: the policy did not choose it."""
    lengths = [len(p) + len(a.ids) - 1 for p, a in zip(prompts, answers, strict=True)]  # the last is only a target
    N, T = len(lengths), max(1, *lengths, 1)
    ids, targets = np.zeros((N, T), np.int64), np.full((N, T), IGNORE, np.int64)
    generated = np.zeros((N, T), np.float32)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        start, end = len(prompt) - 1, lengths[row]
        ids[row, :end] = [*prompt, *answer.ids[:-1]]
        targets[row, start:end], generated[row, start:end] = answer.ids, answer.logprobs
        targets[row, [start + place for place in answer.forced]] = IGNORE
    stopped = np.array([answer.stopped for answer in answers], dtype=bool)
    arrays = {"ids": ids, "targets": targets, "lengths": np.array(lengths), "generated": generated, "stopped": stopped}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def log_probs(model: LanguageModel, micro: Batch, temperature: float) -> tuple[Tensor, Any]:
    """(N, T) of each target under the distribution that is sampled from, 0 elsewhere; and the forward pass's output.

    The temperature is part of the policy (N49): without it, new and old probabilities belong to two policies.
    """
    out = model(**model.inputs_of(micro), per_token=True, temperature=temperature)
    return -out.nll_BT, out


def rows_of(batch: Batch, rows: Tensor) -> Batch:
    """Some rows, without the columns that are padding in all of them."""
    T = max(1, int(batch["lengths"][rows].max()))
    return {name: value[rows][:, :T] if value.dim() == 2 else value[rows] for name, value in batch.items()}


def joined(batches: Sequence[Batch]) -> Batch:
    """Batches one below the other, as wide as the widest."""
    T = max(batch["ids"].shape[1] for batch in batches)

    def wide(name: str, value: Tensor) -> Tensor:
        fill = IGNORE if name == "targets" else 0
        return torch.nn.functional.pad(value, (0, T - value.shape[1]), value=fill) if value.dim() == 2 else value

    return {name: torch.cat([wide(name, batch[name]) for batch in batches]) for name in batches[0]}


def with_columns(rollout: Batch, size: int, read: Callable[[Batch], Batch]) -> Batch:
    """The rollout with the (N, T) columns that `read` gives of `size` rows, each chunk as wide as it has to be."""
    T = rollout["ids"].shape[1]
    found: dict[str, list[Tensor]] = {}
    for rows in torch.arange(len(rollout["ids"])).split(size):
        for name, value in read(rows_of(rollout, rows)).items():
            found.setdefault(name, []).append(torch.nn.functional.pad(value.float(), (0, T - value.shape[1])))
    return rollout | {name: torch.cat(values) for name, values in found.items()}
