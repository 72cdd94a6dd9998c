"""SIGTERM, SIGHUP and Ctrl-C stop the run at the next full step, saved; a second one stops at once.

While it is installed, a signal only sets a flag: an update or a file is never cut in half. Ranks agree on the flag once
per update (in LanguageModule) and once per validation batch (here), so all of them stop at the same place.
"""

import signal
import time
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer

import stopping
from errors import Interrupted

# A terminal and a supervisor may both deliver the same Ctrl-C; only a later one means "at once".
SECOND_SIGNAL_S = 2.0


class StopOnSignal(Callback):
    """Raises Interrupted between steps after a signal. The last callback: the others see the step first."""

    def __init__(self) -> None:
        self._module: Any = None
        self._previous: dict[int, Any] = {}
        self._first = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._module = pl_module
        pl_module.stop_signal = stopping.asked()  # one that was swallowed on the way here
        self._previous = {number: signal.signal(number, self._handle) for number in stopping.SIGNALS}

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        stopping.note(signum)
        if not self._module.stop_signal:
            self._first = time.monotonic()
            self._module.stop_signal = int(signum)
        elif time.monotonic() - self._first > SECOND_SIGNAL_S:
            raise Interrupted(signum, at_full_step=False)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._raise_if_agreed(trainer, pl_module)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.world_size > 1:
            flag = torch.tensor(pl_module.stop_signal, device=pl_module.device)
            dist.all_reduce(flag, op=dist.ReduceOp.MAX)
            pl_module.stop_agreed = int(flag)
        self._raise_if_agreed(trainer, pl_module)

    def _raise_if_agreed(self, trainer: Trainer, module: Any) -> None:
        signum = module.stop_signal if trainer.world_size == 1 else module.stop_agreed
        if signum:
            module.settle()  # an update that was none is told as what it is
            raise Interrupted(signum)

    # Not in teardown: by then Lightning has put back the handlers that it found itself.
    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._restore()
        if pl_module.stop_signal and trainer.world_size == 1:  # it came after the last step; that step is saved
            raise Interrupted(pl_module.stop_signal)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
