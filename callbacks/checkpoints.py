"""last.ckpt is the last step, best.ckpt the best validation; both whole or not there at all.

Lightning's ModelCheckpoint writes last.ckpt only together with a top-k save, so that after a worsening metric "last" is
an older step. Here last.ckpt is written every `every` updates or so many minutes, at the end, and when the run is
stopped or fails.
"""

import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins import TorchCheckpointIO

from callbacks.averaging import Averaging
from commands import run_py
from errors import RequestError, RunError
from models.weights.identity import KEY


class Checkpoints(Callback):
    """Writes `folder`/last.ckpt, and best.ckpt (weights only) where `monitor` was lowest, or with "max" highest.

    With `keep_last` N the last N of them stay, as step_00001000.ckpt and so on; the newest is last.ckpt itself under
    a second name, without a second copy on the disk.
    """

    def __init__(
        self,
        *,
        folder: str | Path,
        every: int,
        minutes: float | None = None,
        keep_last: int = 1,
        monitor: str = "val/loss",
        mode: str = "min",
    ):
        self.folder, self.every, self.monitor, self.mode = Path(folder), every, monitor, mode
        self.minutes, self.keep_last = minutes, keep_last
        self._saved_at = time.monotonic()
        self.saved_step = -1
        self._training = False
        self.best: dict[str, float] = {}  # {"step": ..., monitor: ...}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # what was resumed from is on disk already; from here on, steps count as unsaved
        self.saved_step = trainer.global_step if trainer.ckpt_path else -1
        self._training = True  # before this, weights may be half restored

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step % self.every == 0 or self._minutes_are_over(trainer):
            self.save_last(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = trainer.callback_metrics
        if self.monitor not in metrics:
            raise RequestError(
                f"trainer.monitor={self.monitor}: validation measures no such thing.\n"
                f"It measures: {', '.join(sorted(metrics)) or 'nothing'}."
            )
        value, best = float(metrics[self.monitor]), self.best.get(self.monitor)
        better = not math.isnan(value) and (best is None or (value < best if self.mode == "min" else value > best))
        if better:
            if self._training and self.saved_step < 0:  # where there is a best one, a run can go on
                self.save_last(trainer)
            self.best = {"step": trainer.global_step, self.monitor: value}
            self.best |= {"val/loss": float(metrics["val/loss"])} if "val/loss" in metrics else {}
            trainer.save_checkpoint(self.folder / "best.ckpt", weights_only=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.save_last(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """A stop request saves the last full step; a failure keeps its evidence beside the last good state."""
        evidence = getattr(exception, "evidence", None)
        if evidence is not None and trainer.is_global_zero:
            torch.save(evidence, self.folder / "evidence.pt")
        if self._training and (evidence is not None or getattr(exception, "at_full_step", False)):
            self.save_last(trainer)

    def save_last(self, trainer: Trainer) -> None:
        """All ranks call this together. The loggers are flushed first, so that a resume finds no gap in the curves."""
        if self.saved_step == trainer.global_step or trainer.global_step == 0:
            return
        for logger in trainer.loggers:
            logger.save()
        trainer.save_checkpoint(self.folder / "last.ckpt")
        self.saved_step, self._saved_at = trainer.global_step, time.monotonic()
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Averaging):
                callback.save(trainer)
        if self.keep_last > 1 and trainer.is_global_zero:
            keep_step(self.folder, trainer.global_step, most=self.keep_last)

    def _minutes_are_over(self, trainer: Trainer) -> bool:
        """By the clock of any rank; all ranks agree."""
        if self.minutes is None:
            return False
        over = time.monotonic() - self._saved_at >= self.minutes * 60
        return trainer.strategy.reduce_boolean_decision(over, all=False)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]


def keep_step(folder: Path, step: int, *, most: int) -> None:
    """Names last.ckpt a second time, after its step, and removes the oldest of these names beyond `most`."""
    name = folder / f"step_{step:08d}.ckpt"
    name.unlink(missing_ok=True)
    try:
        os.link(folder / "last.ckpt", name)
    except OSError:  # a file system without links
        shutil.copyfile(folder / "last.ckpt", name)
    for old in sorted(folder.glob(f"step_{'[0-9]' * 8}.ckpt"))[:-most]:
        old.unlink()


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary name, forces it to disk, renames. Reads plain data only (weights_only), never a pickle."""

    made_with: dict[str, Any] | None = None  # written into each checkpoint, see models/weights/identity.py

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Raises RunError when the disk is full or the folder cannot be written; leaves no half file."""
        path = Path(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        if self.made_with is not None:
            checkpoint[KEY] = self.made_with
        try:
            with open(temporary, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            cause = _refused_by_the_disk(error)
            if cause is None:
                raise
            raise RunError(_not_written(path, cause)) from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)


def _refused_by_the_disk(error: BaseException) -> str | None:
    """Why a file could not be written, or None: it is another error. torch wraps a failed write in a RuntimeError."""
    while error is not None:
        if isinstance(error, OSError):
            return error.strerror or str(error)
        if isinstance(error, RuntimeError) and "inline_container" in str(error) and error.__context__ is None:
            return "the file could not be written whole"
        error = error.__context__ if isinstance(error, RuntimeError) else None  # type: ignore[assignment]
    return None


def _not_written(path: Path, cause: str) -> str:
    """What is still there, and what to type; only what is true."""
    inside = path.parent.parent  # what is learned first has a folder below the run's
    run = next((folder for folder in path.parents if (folder / ".hydra").is_dir()), inside)
    last = run / "checkpoints" / "last.ckpt"
    free = shutil.disk_usage(path.parent).free / 1e9
    if last.is_file():
        rest = f"The last checkpoint is untouched. Make room, then go on with: {run_py(f'resume={run}')}"
    else:
        rest = f"There is no earlier one. Make room, then start anew with: {run_py(f'rerun={run}')}"
    return f"could not write {path}: {cause}\n{free:.2f} GB are free there. {rest}"
