"""What all data modules share: how steps are sized and divided, which step comes first, and a loader that adds nothing.

The keys of `conf/data/<name>.yaml` are the keyword arguments of a class and of those it builds on: each is declared and
typed once, where it is used, and the rest is passed on as `**shared`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from bounds import NonNegativeInt, PositiveInt, Seed
from datamodules.batching.prompts import PromptBatches, Prompts, PromptSteps
from datamodules.batching.windows import StepSampler
from tokenization.base import Tokenizer


class StepDataModule(LightningDataModule):
    """A training item is one optimizer step: a list of `accumulate` micro-batches.

    `tokenizer` may be untrained until `prepare()`. The attributes below `__init__`'s arguments are set by the task
    before the loaders are asked for.
    """

    provides: tuple[str, ...] = ()  # kinds of batches, met by an objective's `needs`

    def __init__(
        self,
        *,
        tokenizer: Tokenizer,
        seq_len: PositiveInt,
        batch_size: PositiveInt,
        val_batch_size: PositiveInt | None = None,
        workers: NonNegativeInt = 0,
        seed: Seed = 0,
    ):
        super().__init__()
        val_batch_size = batch_size if val_batch_size is None else val_batch_size
        self.tokenizer, self.seq_len, self.workers, self.seed = tokenizer, seq_len, workers, seed
        self.batch_size, self.val_batch_size = batch_size, val_batch_size
        self.start_step, self.accumulate, self.rank, self.world_size = 0, 1, 0, 1  # the task sets these
        self.updates_per_item = 1  # by the objective: more where a step's item serves several updates
        self.prompts_per_item = self.held_out_prompts = 0  # more than 0: items are prompts, see serve_prompts
        self.pin_memory = False  # the task sets it where a CUDA device trains
        self.keep_messages = True  # the task sets it to False where nobody asks for `prompts`

    @property
    def ignored(self) -> dict[str, int]:
        """What was given and is not used, by name (datamodules/reading/ignored.py); whole after `prepare()`."""
        return {}

    @abstractmethod
    def prepare(self) -> None:
        """Make everything ready; a second call does nothing."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Equal, if training would see the same."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What both sides hold, in JSON types."""

    @abstractmethod
    def facts(self) -> dict[str, str]:
        """What both sides hold, in words, by name."""

    @abstractmethod
    def val_dataset(self) -> Any:
        """All of the validation side on one rank: batches by their number."""

    def prepare_data(self) -> None:
        self.prepare()

    def setup(self, stage: str | None = None) -> None:
        self.prepare()

    @property
    def first_step(self) -> int:
        """The update that training goes on with."""
        attached = 0 if self.trainer is None else self.trainer.global_step
        return max(self.start_step, attached)

    # Prompts ------------------------------------------------------------------------------------------------------

    def prompts(self, side: Literal["train", "val"]) -> Prompts:
        """The questions of a side, by their number; of data that provides "prompts"."""
        raise NotImplementedError

    def serve_prompts(self, *, per_item: int, held_out: int) -> None:
        """From now on the loaders give numbers of prompts, for an objective whose model answers them itself."""
        self.prompts_per_item, self.held_out_prompts = per_item, held_out

    def _prompt_steps(self) -> PromptSteps:
        return PromptSteps(self.prompts("train").size, per_item=self.prompts_per_item, seed=self.seed)

    def _prompt_batches(self) -> PromptBatches:
        there = self.prompts("val").size
        size = self.held_out_prompts if there is None else min(there, self.held_out_prompts)
        return PromptBatches(size, batch_size=self.val_batch_size, rank=self.rank, world_size=self.world_size)

    def _step_loader(self, steps: torch.utils.data.Dataset[Any]) -> DataLoader[Any]:
        """Endless; for update s item s of `steps`, or s // updates_per_item, from the first step on."""
        return self._loader(steps, StepSampler(self.first_step, repeats=self.updates_per_item))

    def _loader(self, dataset: Any, sampler: Any) -> DataLoader[Any]:
        """A loader that adds nothing: items come as batches, and no draw is taken from torch's global generator."""
        return DataLoader(
            dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=self.workers,
            collate_fn=as_is,
            pin_memory=self.pin_memory,
            generator=torch.Generator(),
        )


def as_is(item: Any) -> Any:
    """Instead of default_convert, which walks through every batch; a named function, so that workers can pickle it."""
    return item
