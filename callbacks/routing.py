"""A picture of how busy each expert is: layers down, experts across, after each validation, in TensorBoard.

The numbers (entropy of the loads, dead experts, dropped tokens, ...) are metrics like any other: train/moe/*.

Shapes: L layers with experts, E experts.
"""

from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

PIXELS = 16  # edge of an expert's square


class RoutingPicture(Callback):
    """Sums the loads of all updates between two validations; does nothing for a model without experts."""

    def __init__(self) -> None:
        self._loads_LE: Tensor | None = None

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        loads_LE = pl_module.measured.stats.get("moe/loads")
        if loads_LE is not None and trainer.is_global_zero:
            self._loads_LE = loads_LE if self._loads_LE is None else self._loads_LE + loads_LE

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self._loads_LE is None:
            return
        picture = load_picture(self._loads_LE.cpu())
        self._loads_LE = None
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("moe/loads", picture, trainer.global_step, dataformats="HW")


def load_picture(loads_LE: Tensor) -> Tensor:
    """(L, E) loads as grey squares in [0, 1]: black no token, middle grey a fair share, white twice that or more."""
    fair_L = loads_LE.mean(-1, keepdim=True).clamp_min(1e-9)
    grey_LE = (loads_LE / fair_L / 2).clamp(0, 1)
    return torch.kron(grey_LE, torch.ones(PIXELS, PIXELS))
