"""A picture of what each head looks at, layers down, heads across, after each validation, in TensorBoard.

Of an encoder-decoder three: the encoder's, the decoder's over the answer, and what answers look at in the source.
`task=inspect inspect.view=attention` draws the same large, with the text beside it.

Shapes: H heads, T tokens, Q that look, K that are looked at.
"""

from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from batch import Batch
from bounds import PositiveInt
from errors import RequestError
from models.base import LanguageModel
from models.generation import evaluating
from models.sharding import is_sharded
from models.sources import first_example

PIXELS = 128  # edge of a head's square, about


class AttentionPicture(Callback):
    """Over the first `tokens` tokens of the first validation row: the same text each time, so that pictures compare.
    Of an encoder-decoder's row, which has a source and an answer, at most half of them are of the one if the other is
    long.

    Nothing where no TensorBoard logs, where weights are sharded, or for models that do not show their attention.
    """

    def __init__(self, *, tokens: PositiveInt):
        self.tokens = tokens
        self._row: Batch | None = None

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self._row is None and isinstance(batch, dict) and "ids" in batch:
            self._row = {name: batch[name][:1].clone() for name in ("ids", "targets") if name in batch}

    @torch.no_grad()
    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        model = pl_module.model
        sharded = is_sharded(model)
        if not boards or sharded or self._row is None or not self.tokens:
            return
        model = getattr(model, "_orig_mod", model)  # compiled: weights are asked for outside of the graph
        try:
            with evaluating(model):
                pictures = pictures_of(model, self._row, self.tokens, pl_module.device)
        except RequestError:  # this model shows none
            self.tokens = 0
            return
        for board in boards:
            for name, picture in pictures.items():
                board.experiment.add_image(name, picture, trainer.global_step, dataformats="HW")


def pictures_of(model: LanguageModel, row: Batch, n: int, device: torch.device) -> dict[str, Tensor]:
    """By name, over at most `n` tokens of the row; none where there are not two, or no source and answer."""
    if not model.encodes_source:
        ids_1T = row["ids"][:, :n].to(device)
        return {"attention": head_picture(model.attention_weights(ids_1T))} if ids_1T.shape[1] > 1 else {}
    example = first_example(row, n)
    if example is None:
        return {}
    source_B = torch.tensor([example.source], device=device)
    weights = model.attention_weights(torch.tensor([example.ids], device=device), source_B=source_B)
    read, written = slice(0, example.source), slice(example.source, None)
    parts: dict[str, list[Tensor]] = {"encoder": [], "decoder": [], "source": []}
    for name, weights_1HTT in zip(model.attention_names, weights, strict=True):
        if name.endswith("source"):
            parts["source"].append(weights_1HTT[:, :, written, read])
        elif name.startswith("encoder"):
            parts["encoder"].append(weights_1HTT[:, :, read, read])
        else:
            parts["decoder"].append(weights_1HTT[:, :, written, written])
    return {f"attention/{part}": head_picture(layers) for part, layers in parts.items()}


def head_picture(weights: list[Tensor]) -> Tensor:
    """Each layer's (1, H, Q, K) in greys in [0, 1], white where nothing is looked at; layers may differ in heads."""
    T = max(weights[0].shape[-2:])
    edge = max(1, PIXELS // T)
    rows = [
        torch.cat([framed(head_QK, edge) for head_QK in layer_1HQK[0].float().cpu()], dim=1) for layer_1HQK in weights
    ]
    width = max(row.shape[1] for row in rows)
    return torch.cat([torch.nn.functional.pad(row, (0, width - row.shape[1]), value=1.0) for row in rows])


def framed(weights_QK: Tensor, edge: int) -> Tensor:
    """One head: the square root of its weights in greys, `edge` pixels a place, a white frame around."""
    grey_QK = 1 - weights_QK.clamp(0, 1).sqrt()
    return torch.nn.functional.pad(torch.kron(grey_QK, torch.ones(edge, edge)), (3, 3, 3, 3), value=1.0)
