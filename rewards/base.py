"""What answers are worth: small parts, each a number for every answer, that add up by weight.

A reward is a config section like callbacks: named parts, each with a `weight` and keys of its own. Adding one: a file
here with a `Reward`, and a YAML in conf/reward/; a part gets `data`, `tokenizer` and `load_model` where it asks for
them. Parts that hold a network are modules, so that it lies in the checkpoint.

Shapes: N answers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from errors import RequestError, RunError
from tokenization.chat import Message, Tools

R = TypeVar("R")


@dataclass(frozen=True)
class Answers:
    """N answers with what is known of them."""

    asked: Sequence[str]
    texts: Sequence[str]  # without the token that ends them
    expected: Sequence[str]
    prompt_ids: Sequence[Sequence[int]]
    ids: Sequence[Sequence[int]]  # of the answers, the end included where there is one
    stopped: Sequence[bool]  # ended by itself
    right: Tensor | None = None  # (N,) bool, where the data says how answers are compared
    conversations: Sequence[tuple[Sequence[Message], Tools]] = ()  # what was asked before it was rendered

    def __len__(self) -> int:
        return len(self.texts)

    def questions(self) -> Sequence[tuple[Sequence[Message], Tools]]:
        """What was asked, as messages and tools, for a judge with a template of its own; `asked` may be the policy's
        rendering. Where the data has no messages, `asked` is what a user says."""
        return self.conversations or [([{"role": "user", "content": text}], ()) for text in self.asked]


class Reward(nn.Module):
    """A part: `forward(answers)` -> (N,) fp32. `weight` may be negative; 0 leaves it measured and unused.

    Args:
        whiten: the part's numbers are brought to mean 0 and standard deviation 1 over a rollout before they are
            weighted: a learned score has no scale of its own. What is logged is as it was.
    """

    reads_messages = False  # True: it may render what was asked in a template of its own

    def __init__(self, *, weight: float = 1.0, whiten: bool = False):
        super().__init__()
        self.weight, self.whiten = weight, whiten

    def check(self, data: Any) -> None:
        """Raises RequestError where the data lacks what this part needs."""

    def forward(self, answers: Answers) -> Tensor:
        raise NotImplementedError


class Rewards(nn.ModuleDict):
    """The parts of a run's reward, by name."""

    def check(self, data: Any) -> None:
        """Raises RequestError where there is nothing to be rewarded, or a part cannot judge this data."""
        if all(part.weight == 0 for part in self.values()):
            raise RequestError("nothing is rewarded: every weight is 0. Type reward=answer, or reward.NAME.weight=1.")
        for part in self.values():
            part.check(data)  # type: ignore[operator]

    @torch.no_grad()
    def measure(self, answers: Answers) -> dict[str, Tensor]:
        """(N,) fp32 of each part, on the CPU.

        Raises:
            RunError: a part gives something that is no number (N59): it would spoil its whole group.
        """
        found = {}
        for name, part in self.items():
            values_N = part(answers).float().cpu()
            if not values_N.isfinite().all():
                row = int((~values_N.isfinite()).nonzero()[0])
                raise RunError(
                    f"reward.{name} gives {values_N[row].item()} for an answer: {answers.texts[row][:200]!r}.\n"
                    "Stopped before the update; nothing was learned from this rollout."
                )
            found[name] = values_N
        return found

    def total(self, values: Mapping[str, Tensor]) -> Tensor:
        """(N,) float64: the parts' values by their weights."""
        weights = {name: float(part.weight) for name, part in self.items()}  # type: ignore[arg-type]
        return torch.stack([weights[name] * values_N.double() for name, values_N in values.items()]).sum(0)


def by_length(
    rows: Sequence[R], lengths: Sequence[int], score: Callable[[list[R]], Tensor], *, batch_size: int
) -> Tensor:
    """(N,) scores of rows, of which those of like length are scored together: little padding."""
    order = sorted(range(len(rows)), key=lengths.__getitem__)
    found_N = torch.zeros(len(rows))
    for start in range(0, len(rows), batch_size):
        which = order[start : start + batch_size]
        found_N[which] = score([rows[i] for i in which]).cpu()
    return found_N
