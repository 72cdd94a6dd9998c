"""Log-probabilities under the reference, computed once for all pairs and kept on disk (N29).

The key is what they depend on: weights, data (tokenizer included), precision. They are computed in the batches in which
the first epoch will be trained, by the model that will be trained: there the margin of the first step is 0 to the bit.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from errors import RunError
from models.generation import evaluating

Scorer = Callable[[Any, dict[str, Tensor]], tuple[Tensor, Any, Any]]


def reference_log_probs(module: Any, scorer: Scorer, cache_dir: Path) -> Tensor:
    """(pairs, 2) fp32 on the CPU: chosen and rejected of every pair of training and validation, by their `index`."""
    data = module.trainer.datamodule
    key = cache_key(module.model, data.fingerprint, str(module.trainer.precision))
    file = None if key is None else cache_dir / "reference" / f"{key}.npy"
    known = file.is_file() if file is not None else False
    if module.trainer.world_size > 1:  # all ranks read, or all compute
        agreed = torch.tensor([int(known)], device=module.device)
        dist.all_reduce(agreed, op=dist.ReduceOp.MIN)
        known = bool(agreed)
    if known:
        assert file is not None
        return torch.from_numpy(np.load(file))
    found = _compute(module, scorer, data.epoch_batches(), data.n_pairs)
    if file is not None and module.trainer.is_global_zero:
        _write(file, found.numpy())
    return found


@torch.no_grad()
def _compute(module: Any, scorer: Scorer, batches: Iterable[dict[str, Tensor]], n_pairs: int) -> Tensor:
    found = torch.full((n_pairs, 2), float("-inf"))
    with evaluating(module.model), module.trainer.precision_plugin.forward_context():
        for micro in batches:
            on_device = {name: value.to(module.device) for name, value in micro.items()}
            real_P = micro["lengths"].view(2, -1)[0] > 0
            log_probs_P2 = scorer(module.model, on_device)[0].float().cpu().view(2, -1).T
            found[micro["index"][real_P]] = log_probs_P2[real_P]
    if module.trainer.world_size > 1:  # each rank went through its share
        shared = found.to(module.device)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        found = shared.cpu()
    if not found.isfinite().all():
        raise RunError("the reference gives some completions no finite probability: are the start weights whole?")
    return found


def cache_key(model: nn.Module, data_fingerprint: str, precision: str) -> str | None:
    """SHA-256 over weights, data and precision; None for sharded weights, which no rank has whole."""
    digest = hashlib.sha256(f"{data_fingerprint} {precision}".encode())
    for name, module in model.named_modules():  # number of heads and the like, which no weight shows
        plain = {k: v for k, v in vars(module).items() if isinstance(v, int | float | str) and k != "training"}
        digest.update(f"{name} {type(module).__qualname__} {sorted(plain.items())}".encode())
    for name, value in model.state_dict().items():
        if hasattr(value, "full_tensor"):
            return None
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def _write(file: Path, values: np.ndarray) -> None:
    """Whole or not at all. A cache that cannot be written is no reason to stop."""
    part = file.with_name(f".{file.stem}.{os.getpid()}.npy")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(part, values)
        os.replace(part, file)
    except OSError as error:
        print(f"the reference's log-probabilities are not kept for later runs: {error.strerror} ({file})")
