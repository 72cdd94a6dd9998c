"""A picture of what each head looks at, layers down, heads across, after each validation, in TensorBoard.

`task=inspect inspect.view=attention` draws the same large, with the text beside it.

Shapes: B batch, H heads, T tokens, L layers.
"""

from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from bounds import PositiveInt
from errors import RequestError
from models.generation import evaluating

PIXELS = 128  # edge of a head's square, about


class AttentionPicture(Callback):
    """Over the first `tokens` tokens of the first validation row: the same text each time, so that pictures compare.

    Nothing where no TensorBoard logs, where weights are sharded, or for models that do not show their attention.
    """

    def __init__(self, *, tokens: PositiveInt):
        self.tokens = tokens
        self._ids_1T: Tensor | None = None

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self._ids_1T is None and isinstance(batch, dict) and "ids" in batch:
            self._ids_1T = batch["ids"][:1, : self.tokens].clone()

    @torch.no_grad()
    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        model = pl_module.model
        sharded = isinstance(model, torch.distributed.fsdp.FSDPModule)
        if not boards or sharded or self._ids_1T is None or self._ids_1T.shape[1] < 2:
            return
        model = getattr(model, "_orig_mod", model)  # compiled: weights are asked for outside of the graph
        try:
            with evaluating(model):
                weights = model.attention_weights(self._ids_1T.to(pl_module.device))
        except RequestError:  # this model shows none
            self._ids_1T = None
            self.tokens = 0
            return
        for board in boards:
            board.experiment.add_image("attention", head_picture(weights), trainer.global_step, dataformats="HW")


def head_picture(weights: list[Tensor]) -> Tensor:
    """Each layer's (1, H, T, T) as squares in [0, 1], white where nothing is looked at; layers may differ in heads."""
    T = weights[0].shape[-1]
    edge = max(1, PIXELS // T)
    rows = [
        torch.cat([framed(head_TT, edge) for head_TT in layer_HTT[0].float().cpu()], dim=1) for layer_HTT in weights
    ]
    width = max(row.shape[1] for row in rows)
    return torch.cat([torch.nn.functional.pad(row, (0, width - row.shape[1]), value=1.0) for row in rows])


def framed(weights_TT: Tensor, edge: int) -> Tensor:
    """One head: the square root of its weights in greys, `edge` pixels a place, a white frame around."""
    grey_TT = 1 - weights_TT.clamp(0, 1).sqrt()
    return torch.nn.functional.pad(torch.kron(grey_TT, torch.ones(edge, edge)), (3, 3, 3, 3), value=1.0)
