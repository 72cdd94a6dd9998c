"""Numbers to the loggers: each against optimizer steps, with tokens seen beside; speed without validation in it."""

import statistics
import time
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from batch import Batch
from models.base import LanguageModel

# Dense bf16 peak FLOP/s from the vendor's data sheets; other devices are measured.
DATASHEET = {"A100": 312e12, "H100": 989e12, "H200": 989e12, "B200": 2250e12, "L4": 121e12, "A10": 125e12}


class Metrics(Callback):
    """Logs train/* every `log_every` updates and val/* after each validation.

    train/tokens_per_second is the median over the updates since the last log; `tokens_per_second` (a property) the
    median over all of them. Both count supervised tokens. Where updates are settled later, on a GPU, one by itself has
    no duration: there it is the sum of tokens over the sum of seconds. train/mfu is over the work that was done: the
    FLOPs of all positions that were read, prompts too, of the weights that were used and learned (`flops_per_token`),
    and of the head where a target counts, as a share of this device's matmul peak.
    """

    def __init__(self, *, log_every: int):
        self.log_every = log_every
        self._speeds: list[float] = []
        self._recent: list[tuple[int, float]] = []  # tokens and seconds of each update since the last log
        self._work: list[float] = []  # FLOP/s of this rank, update by update
        self._peak: float | None = None
        self.latest: dict[str, float] = {}

    @property
    def tokens_per_second(self) -> float:
        speeds = self._speeds + _speeds(self._recent)
        return statistics.median(speeds) if speeds else 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: list[Batch], batch_idx: int
    ) -> None:
        # the module starts the clock after the callbacks of the step before: so waiting for data counts,
        # validation and checkpoints do not
        seconds = time.perf_counter() - pl_module.measured.step_ended
        self._recent.append((pl_module.measured.step_tokens, seconds))
        logs = trainer.global_step % self.log_every == 0 or trainer.global_step == 1
        if logs or not pl_module.settles_later:  # what padding there is, a GPU knows after all that it has to do
            # supervised tokens are known over all ranks; counting this rank's would make a GPU wait
            supervised = pl_module.measured.step_tokens // trainer.world_size
            self._work.append(batch_flops(pl_module.model, batch, supervised=supervised) / seconds)
        if logs:
            self._log_training(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._log(trainer, pl_module, pl_module.measured.val)

    def _log_training(self, trainer: Trainer, module: Any) -> None:
        speeds = _speeds(self._recent)
        if module.settles_later:
            last = self._recent[-1]
            speeds = [sum(tokens for tokens, _ in self._recent) / sum(seconds for _, seconds in self._recent)]
            self._work[-1] *= speeds[0] * last[1] / max(1, last[0])  # as if this update had gone at that speed
        speed = statistics.median(speeds)
        self._speeds += speeds
        self._recent = []
        if self._peak is None:
            self._peak = peak_flops(module.device)
        mfu = statistics.median(self._work) / self._peak
        self._work = []
        self._log(trainer, module, module.measured.train | {"train/tokens_per_second": speed, "train/mfu": mfu})

    def _log(self, trainer: Trainer, module: Any, metrics: dict[str, float]) -> None:
        self.latest |= metrics
        row = metrics | {"tokens_seen": float(module.measured.tokens_seen)}
        for logger in trainer.loggers:
            logger.log_metrics(row, step=trainer.global_step)


def _speeds(updates: list[tuple[int, float]]) -> list[float]:
    return [tokens / seconds for tokens, seconds in updates]


def batch_flops(model: LanguageModel, batch: list[Batch], *, supervised: int) -> int:
    """Training FLOPs of micro-batches: what has to be read goes through the trunk, `supervised` tokens meet the head.

    Padding is read where a model does not leave it out, and what the two rows of a pair begin with once or twice.
    """
    head = model.head_flops_per_token()
    return supervised * head + sum(
        positions_read(model, micro) * (model.flops_per_token(micro["ids"].shape[1]) - head) for micro in batch
    )


def positions_read(model: LanguageModel, micro: Batch) -> int:
    compact = model.compact_of(micro)
    return micro["ids"].numel() if compact is None else len(compact.place_N)


def peak_flops(device: torch.device) -> float:
    """Matmul FLOP/s of this device: the data sheet's bf16 figure where known, else measured in fp32 (about 0.1 s)."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for part, peak in DATASHEET.items():
            if part in name.split() or f"{part}-" in name:
                return peak
    return measured_matmul_flops(device)


def measured_matmul_flops(device: torch.device, n: int = 1024, repeats: int = 5) -> float:
    """Best of `repeats` products of two (n, n) fp32 matrices. Draws nothing: a run's numbers do not depend on it."""
    a, b = torch.full((n, n), 0.5, device=device), torch.full((n, n), 0.25, device=device)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        (a @ b).sum().item()  # item() waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best
