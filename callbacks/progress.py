"""One line that says how the run is going: step, loss, speed, time left."""

import sys
import time
from math import isfinite
from typing import Any

from lightning.pytorch import Callback, Trainer
from tqdm import tqdm

from bounds import NonNegativeFloat
from progress import Tracker


class Progress(Callback):
    """A bar in a terminal; elsewhere (a log file, a batch system) a plain line every `line_every_s` seconds."""

    def __init__(self, *, line_every_s: NonNegativeFloat):
        self.line_every_s = line_every_s
        self._bar: tqdm | None = None
        self._started = self._last_line = 0.0
        self._first_step = self._tokens = 0
        self._val = ""
        self._validating: Tracker | None = None
        self._validated = 0  # batches

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._started = self._last_line = time.monotonic()
        self._first_step, self._tokens = trainer.global_step, pl_module.measured.tokens_seen
        if trainer.is_global_zero and sys.stderr.isatty():
            total = trainer.max_steps if trainer.max_steps > 0 else None
            self._bar = tqdm(total=total, initial=trainer.global_step, unit="step", dynamic_ncols=True, desc="train")

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if self._bar is not None:
            self._bar.n = trainer.global_step
            if self._bar.n % 5 == 0 or self._bar.n == self._bar.total:
                self._bar.set_postfix_str(self._facts(trainer, pl_module), refresh=False)
            self._bar.update(0)
        elif trainer.is_global_zero and self._line_due(trainer):
            self._last_line = time.monotonic()
            left = "" if trainer.max_steps < 0 else f"/{trainer.max_steps}"
            print(f"step {trainer.global_step}{left}  {self._facts(trainer, pl_module)}", flush=True)

    def _line_due(self, trainer: Trainer) -> bool:
        return time.monotonic() - self._last_line >= self.line_every_s or trainer.global_step == trainer.max_steps

    def _facts(self, trainer: Trainer, module: Any) -> str:
        loss = module.measured.train.get("train/loss")
        now = time.monotonic()
        speed = (module.measured.tokens_seen - self._tokens) / (now - self._started)
        left = (trainer.max_steps - trainer.global_step) / (trainer.global_step - self._first_step)
        left_s = left * (now - self._started)
        parts = ["" if loss is None else f"loss {loss:.4f}", self._val, f"{speed:,.0f} tok/s"]
        if self._bar is None and trainer.max_steps > 0:  # a bar shows the time left by itself
            parts.append(f"{int(left_s // 60)}:{int(left_s % 60):02d} left")
        return "  ".join(p for p in parts if p)

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._validated, total = 0, sum(trainer.num_val_batches)
        self._validating = Tracker("validating", int(total) if isfinite(total) else None, unit="batches")

    def on_validation_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if self._validating is not None:
            self._validated += 1
            self._validating.at(self._validated)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._end_validation()
        found = pl_module.measured.val
        name = "val/loss" if "val/loss" in found else next(iter(found))  # an objective may have no loss there
        self._val = f"{name.replace('/loss', '')} {found[name]:.4f}"
        if self._bar is None and trainer.is_global_zero:
            facts = "  ".join(f"{name} {value:.4f}" for name, value in pl_module.measured.val.items())
            print(f"step {trainer.global_step}  {facts}", flush=True)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        self._close()

    def _end_validation(self) -> None:
        if self._validating is not None:
            self._validating.close()
            self._validating = None

    def _close(self) -> None:
        self._end_validation()
        if self._bar is not None:
            self._bar.close()
            self._bar = None
