"""What an update is made of beside its loss: what it counts, what it draws, its gradient's norm, what it showed."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from batch import IGNORE, Batch
from errors import RunError
from models.base import real_tokens


class NonFiniteError(RunError):
    """Loss or gradient is NaN or infinite; raised before the update. `evidence` is what one needs to look into it."""

    def __init__(self, message: str, evidence: dict[str, Any]):
        super().__init__(message)
        self.evidence = evidence


class Size(NamedTuple):
    """Of one update: what its loss is divided by, its supervised tokens, the tokens that it reads."""

    units: int
    tokens: int
    read: int


class Unsettled(NamedTuple):
    """An update that a GPU may still be computing; it is skipped there if its gradient is not finite."""

    step: int
    batch: list[Batch]
    norm: Tensor


@dataclass
class Measured:
    """What updates and validations have shown so far: written by the module, read by callbacks. Equal on all ranks."""

    tokens_seen: int = 0  # supervised tokens of the whole run
    step_tokens: int = 0  # the same of the last update
    step_ended: float = 0.0  # when the last update and all that followed it had ended, time.perf_counter()
    train: dict[str, float] = field(default_factory=dict)  # metrics of the last update that was logged
    val: dict[str, float] = field(default_factory=dict)  # of the last validation
    extra: dict[str, float] = field(default_factory=dict)  # what callbacks measured in this validation
    stats: dict[str, Tensor] = field(default_factory=dict)  # what the model counted in the last update


def step_seed(seed: int, step: int, rank: int) -> int:
    """One 63-bit seed for (seed, step, rank); splitmix64's finaliser, so that neighbours share nothing."""
    mask = 2**64 - 1
    x = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return (x ^ (x >> 31)) >> 1


def seed_generators(seed: int, device: torch.device) -> None:
    """What an update draws from. `torch.manual_seed` also notes the seed for each kind of device that is not there,
    with a trace of the stack: half a millisecond."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def clip_gradients(network: torch.nn.Module, bound: float | None) -> float:
    """Norm over all gradients of `network`, before they are scaled in place where it is above `bound`."""
    grads = [p.grad for p in network.parameters() if p.grad is not None]
    norm = get_total_norm(grads)
    if hasattr(norm, "full_tensor"):  # FSDP: each rank holds a part of each gradient
        norm = norm.full_tensor()
    value = float(norm)
    if bound is not None and value > bound:
        torch._foreach_mul_(grads, bound / (value + 1e-6))
    return value


def added(sums: dict[str, Tensor], more: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value if name not in sums else sums[name] + value for name, value in more.items()}


def supervised_tokens(micro: Batch) -> int:
    """Targets that count."""
    return int((micro["targets"] != IGNORE).sum())


def read_tokens(micro: Batch) -> int:
    """Tokens that are no padding."""
    real_BT = real_tokens(micro)
    return micro["ids"].numel() if real_BT is None else int(real_BT.sum())


def is_finite(grad: Tensor) -> bool:
    local = grad.to_local() if hasattr(grad, "to_local") else grad
    return bool(local.isfinite().all())
