"""Validation every so many updates, at the end, and after a resume that was stopped just before one.

Lightning decides on validation by batch counts of its own, which a resume shifts. Here one callback asks one question:
has this step been validated? It runs Lightning's validation loop the way Lightning's own training loop does.
"""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class Validation(Callback):
    """Runs validation after every `every` updates and after the last one."""

    def __init__(self, *, every: int):
        self.every = every
        self.validated_step = -1

    def due(self, step: int) -> bool:
        return step > 0 and step % self.every == 0 and step != self.validated_step

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # of its own count Lightning keeps one: it validates when a run is stopped early, what was validated here too
        trainer.fit_loop.epoch_loop._should_check_val_fx = lambda *_: False  # type: ignore[method-assign]
        if self.due(trainer.global_step):
            self.validate_now(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self.due(trainer.global_step):
            self.validate_now(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step != self.validated_step:
            self.validate_now(trainer)

    def validate_now(self, trainer: Trainer) -> None:
        """Validates in the middle of training; an objective may ask for it, at the end of `on_train_start` or later."""
        epoch_loop, connector = trainer.fit_loop.epoch_loop, trainer._logger_connector
        first = connector._first_loop_iter
        trainer.validating = True
        epoch_loop.val_loop.restarting = False  # from the first batch, also where a resume begins with a validation
        epoch_loop.val_loop.run()
        trainer.training = True
        connector._first_loop_iter = first

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validated_step = trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        return {"validated_step": self.validated_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.validated_step = state_dict["validated_step"]
