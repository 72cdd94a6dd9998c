"""TensorBoard in the run folder. A resumed run's older events are purged from the step where it goes on."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment

from bounds import NonNegativeInt

# The tab "Custom Scalars": curves that belong together in one chart. Names are regular expressions; what a run does not
# log stays empty.
LAYOUT: dict[str, dict[str, list[Any]]] = {
    "learning": {
        "loss": ["Multiline", ["train/loss$", "val/loss$"]],
        "bits per byte": ["Multiline", ["val/bpb$"]],
        "gradient norm": ["Multiline", ["train/grad_norm$"]],
        "learning rate": ["Multiline", ["train/lr_multiplier$"]],
    },
    "speed": {
        "tokens per second": ["Multiline", ["train/tokens_per_second$"]],
        "share of the peak (MFU)": ["Multiline", ["train/mfu$"]],
    },
    "routing": {
        "load entropy": ["Multiline", [r"train/moe/load_entropy"]],
        "fullest expert": ["Multiline", [r"train/moe/maxvio"]],
        "dead experts": ["Multiline", [r"train/moe/dead_experts"]],
        "dropped tokens": ["Multiline", [r"train/moe/dropped$"]],
    },
    "alignment": {
        "rewards": ["Multiline", [r"(train|val)/rewards/(chosen|rejected|margins)$"]],
        "accuracy": ["Multiline", [r"(train|val)/(rewards/accuracies|accuracy|exact_match)$"]],
    },
}


class TensorBoard(TensorBoardLogger):
    """Lightning's logger, writing to `run_dir`/tensorboard without version folders."""

    def __init__(self, *, run_dir: str | Path, start_step: NonNegativeInt):
        purge: dict[str, Any] = {"purge_step": start_step + 1} if start_step else {}
        super().__init__(str(run_dir), name="tensorboard", version="", default_hp_metric=False, **purge)
        self._arranged = False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        writer = super().experiment
        if not self._arranged:
            self._arranged = True
            writer.add_custom_scalars(LAYOUT)
        return writer

    def compare(self, varied: Mapping[str, int | float | bool | str], curves: Iterable[str]) -> None:
        """The tab HPARAMS shows what was varied beside where these curves end.

        Lightning's `log_hyperparams` would log each of them once more, as a chart of one point.
        """
        from torch.utils.tensorboard.summary import hparams

        writer = self.experiment._get_file_writer()
        for summary in hparams(dict(varied), dict.fromkeys(curves, 0.0)):
            writer.add_summary(summary)

    def save(self) -> None:
        """Flush; the composed config is in .hydra/, so no hparams.yaml beside the events."""
        self.experiment.flush()
