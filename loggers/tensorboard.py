"""TensorBoard in the run folder. A resumed run's older events are purged from the step where it goes on."""

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger


class TensorBoard(TensorBoardLogger):
    """Lightning's logger, writing to `run_dir`/tensorboard without version folders."""

    def __init__(self, *, run_dir: str | Path, start_step: int = 0):
        purge: dict[str, Any] = {"purge_step": start_step + 1} if start_step else {}
        super().__init__(str(run_dir), name="tensorboard", version="", default_hp_metric=False, **purge)

    def save(self) -> None:
        """Flush; the composed config is in .hydra/, so no hparams.yaml beside the events."""
        self.experiment.flush()
