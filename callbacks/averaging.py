"""An exponential moving average of the weights (EMA), kept beside those that are trained.

    average <- decay * average + (1 - decay) * weights        after each update (Polyak and Juditsky 1992)

The average never meets the training: it is validated beside the weights (val/ema/loss) and saved as
checkpoints/ema.ckpt. Lightning's WeightAveraging validates and saves the average in the weights' place, so that
last.ckpt would hold another model than the one that goes on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from batch import Batch
from bounds import OpenShare
from errors import RequestError


class Averaging(Callback):
    """Averages the weights that learn; `decay` 0.999 looks back over about a thousand updates."""

    def __init__(self, *, decay: OpenShare, folder: Path):
        self.decay, self.folder = decay, folder
        self.average: dict[str, Tensor] = {}
        self._update = get_ema_multi_avg_fn(decay)
        self._sums: list[dict[str, Tensor]] = []  # of each validation batch
        self._step = 0

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Raises RequestError where each rank holds a part of the weights only."""
        learned = _learned(pl_module)
        if any(hasattr(weight, "full_tensor") for weight in learned.values()):
            raise RequestError(f"trainer.ema={self.decay}: weights are spread over ranks. Type hardware=ddp.")
        known = self.average
        self.average = {n: known.get(n, w).detach().clone().to(w.device) for n, w in learned.items()}
        self._step = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        pl_module.settle()
        if trainer.global_step > self._step:  # a step that a gradient scaler left out changed nothing
            weights = [weight.detach() for weight in _learned(pl_module).values()]
            with torch.no_grad():
                self._update(list(self.average.values()), weights, 0)
            self._step = trainer.global_step

    # ---- measured beside ---------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._sums = []

    def on_validation_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, *_: Any) -> None:
        if self.average and _measures_losses(pl_module):
            with self.in_place(pl_module), torch.no_grad(), trainer.precision_plugin.val_step_context():
                self._sums.append(pl_module.validation_sums(batch, pl_module.loss(batch)))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Adds val/ema/<metric> to what this validation has measured."""
        if self.average and _measures_losses(pl_module):
            found = pl_module.metrics_over(self._sums)
            pl_module.measured.extra |= {f"val/ema/{name}": value for name, value in found.items()}

    # ---- kept --------------------------------------------------------------------------------------------------------

    @contextmanager
    def in_place(self, module: Any) -> Iterator[None]:
        """The average in the place of the weights, without copying either."""
        learned = _learned(module)
        before = {name: weight.data for name, weight in learned.items()}
        try:
            for name, weight in learned.items():
                weight.data = self.average[name]
            yield
        finally:
            for name, weight in learned.items():
                weight.data = before[name]

    def save(self, trainer: Trainer) -> None:
        """Writes ema.ckpt: weights only, as best.ckpt is."""
        if self.average:
            with self.in_place(trainer.lightning_module):
                trainer.save_checkpoint(self.folder / "ema.ckpt", weights_only=True)

    def state_dict(self) -> dict[str, Any]:
        return {"average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.average = state_dict["average"]


def _learned(module: LightningModule) -> dict[str, torch.nn.Parameter]:
    return {name: weight for name, weight in module.named_parameters() if weight.requires_grad}


def _measures_losses(module: Any) -> bool:
    """Whether validation is sums over losses; where it samples answers, the average would change what is drawn."""
    return module.validates_losses
