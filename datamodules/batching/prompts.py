"""Questions to be answered by the model itself, for online RL: item k holds the numbers of the prompts of rollout k.

Texts and ids stay with the data (`data.prompts(side)[i]`); a batch is {"index": (P,)}, of all ranks together: which
rank answers which is the objective's to say. As for examples, what rollout k asks is a pure function of (seed, k).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from batch import Batch
from datamodules.batching.epochs import Epochs
from errors import RequestError
from tokenization.base import Tokenizer
from tokenization.chat import Message, Rendered, Tools


class Question(NamedTuple):
    """What the model is asked, and the answer that was expected.

    `source`: what other questions may be about as well; those stand and fall together. "": the question itself.
    `messages`, `tools`: what `prompt` was rendered from, for a judge that renders it in its own way.
    """

    prompt: np.ndarray  # (n,) ids
    asked: str
    expected: str
    source: str = ""
    tokens: int = 0  # that the expected turn takes, thoughts included; 0: those of `expected`
    messages: Sequence[Message] = ()
    tools: Tools = ()


@dataclass(frozen=True)
class Prompts:
    """Numbered questions, made when asked for; `size` is None where there is no end of them."""

    size: int | None
    make: Callable[[int], Question]

    def __getitem__(self, i: int) -> Question:
        return self.make(i)


class PromptSteps(torch.utils.data.Dataset[list[Batch]]):
    """Item k: the prompts of rollout k; each once an epoch, generated ones never again."""

    def __init__(self, size: int | None, *, per_item: int, seed: int):
        self.size, self.per_item, self.seed = size, per_item, seed

    def __getitem__(self, k: int) -> list[Batch]:
        if self.size is None:
            numbers = np.arange(k * self.per_item, (k + 1) * self.per_item)
        else:
            numbers = Epochs(self.size, self.per_item, self.seed).update(k)
        return [{"index": torch.from_numpy(numbers)}]


class PromptBatches(torch.utils.data.Dataset[Batch]):
    """The first `size` held-out prompts, a rank's share, in batches; all ranks have as many, filled up with -1."""

    def __init__(self, size: int, *, batch_size: int, rank: int, world_size: int):
        self.size, self.rank, self.world_size = size, rank, world_size
        self.per_rank = -(-size // world_size)
        self.batch_size = min(batch_size, self.per_rank)

    def __len__(self) -> int:
        return -(-self.per_rank // self.batch_size)

    def __getitem__(self, i: int) -> Batch:
        if not 0 <= i < len(self):
            raise IndexError(i)
        places = torch.arange(i * self.batch_size, min((i + 1) * self.batch_size, self.per_rank))
        index = places * self.world_size + self.rank
        return {"index": torch.where(index < self.size, index, -1)}


def last_question(example: Rendered, tokenizer: Tokenizer, end: int) -> Question:
    """An example up to its last supervised answer, and that answer.

    Raises:
        RequestError: nothing comes before it (data.learn=all).
    """
    learned = np.flatnonzero(example.mask)
    start = int(learned[np.flatnonzero(np.diff(learned, prepend=-2) > 1)[-1]])  # of the last unbroken run
    if start == 0:
        raise RequestError(
            "the data supervises every token, so that no question is left to be answered.\n"
            "Type data.learn=assistant, or data.learn=last."
        )
    prompt, answer = example.ids[:start], example.ids[start : learned[-1] + 1].tolist()
    expected = tokenizer.decode(answer[:-1] if answer[-1] == end else answer)
    return Question(prompt, tokenizer.decode(prompt.tolist()).strip(), expected)
