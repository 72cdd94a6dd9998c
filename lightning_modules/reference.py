"""The reference: log-probabilities of completions under the model as the run starts. Any objective can take it.

    cached     computed once for all examples, before the first update, and kept on disk (N29)
    online     computed at each step by a frozen copy; beside adapters by the model itself, with them switched off

The cache's key is what they depend on: weights, data (tokenizer included), precision. They are computed in the batches
in which the first epoch will be trained, by the model that will be trained: there the margin of the first step is 0 to
the bit.

Shapes: P prompts or pairs, k completions of each; a batch has k P rows, first completions first.
"""

import copy
import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from batch import Batch
from errors import RunError
from models.adapters.lora import adapted_layers, without_adapters
from models.base import LanguageModel
from models.generation import evaluating
from models.layers import products
from progress import Tracker

Scorer = Callable[[Any, Batch], Tensor]  # (model, batch) -> log-probability of each row's completion, (k P,)
KEY = "reference_log_probs"  # in checkpoints


class Reference(nn.Module):
    """`log_probs(model, micro)`, by `scorer`; `how` is "cached" or "online".

    Its life follows Lightning's hooks: `keep_start` in configure_model, `compute` in on_fit_start, `save` and `load`
    with checkpoints (the start model is gone when a run is resumed). The frozen copy lies in the state_dict.
    """

    def __init__(self, scorer: Scorer, *, how: Literal["cached", "online"], cache_dir: str | Path):
        super().__init__()
        self.scorer, self.how, self.cache_dir = scorer, how, Path(cache_dir)
        self.table: Tensor | None = None  # (examples, k) fp32, by `index`
        self.frozen: LanguageModel | None = None

    def keep_start(self, model: LanguageModel) -> None:
        """Called while `model` is still the one that the run starts from."""
        if self.how == "online" and not adapted_layers(model) and self.frozen is None:
            self.frozen = copy.deepcopy(model).requires_grad_(False)

    def parameters_beside(self, model: LanguageModel) -> dict[str, tuple[int, int]]:
        """For task=check: the copy, where there will be one."""
        if self.how == "cached" or adapted_layers(model):
            return {}
        return {"reference": (model.parameter_counts()["total"], 0)}

    def compute(self, module: Any) -> None:
        """Before the first update, on all ranks together."""
        if self.how == "cached" and self.table is None:
            self.table = reference_log_probs(module, self.scorer, self.cache_dir)

    @torch.no_grad()
    def log_probs(self, model: LanguageModel, micro: Batch) -> Tensor:
        """(k P,) under the reference.

        Raises:
            RunError: it is cached, and training has not begun.
        """
        if self.how == "cached":
            if self.table is None:
                raise RunError("the reference is computed when training starts; this run has not begun to train.")
            self.table = self.table.to(micro["ids"].device)
            return self.table[micro["index"]].T.reshape(-1)
        if adapted_layers(model):
            with without_adapters(model):
                return self.scorer(model, micro)
        assert self.frozen is not None
        return self.scorer(self.frozen.eval(), micro)

    def save(self, checkpoint: dict[str, Any]) -> None:
        if self.how == "cached":
            checkpoint[KEY] = self.table

    def load(self, checkpoint: dict[str, Any]) -> None:
        if self.how == "cached":
            self.table = checkpoint[KEY]
        state = checkpoint["state_dict"]  # until 2026-11 the copy lay there without a name of its own
        for name in [n for n in state if n.startswith("reference.") and not n.startswith("reference.frozen.")]:
            state[name.replace("reference.", "reference.frozen.", 1)] = state.pop(name)


def reference_log_probs(module: Any, scorer: Scorer, cache_dir: Path) -> Tensor:
    """(examples, k) fp32 on the CPU, for training and validation, by their `index`."""
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
    share = -(-data.n_indexed // module.trainer.world_size)
    tracker = Tracker("reference log-probabilities", share, unit="examples")
    found = _compute(module, scorer, data.epoch_batches(), data.n_indexed, tracker)
    if file is not None and module.trainer.is_global_zero:
        _write(file, found.numpy())
    return found


@torch.no_grad()
def _compute(module: Any, scorer: Scorer, batches: Iterable[Batch], n: int, tracker: Tracker) -> Tensor:
    found, done = torch.empty(0), 0
    with evaluating(module.model), module.trainer.precision_plugin.forward_context():
        for micro in batches:
            on_device = {name: value.to(module.device) for name, value in micro.items()}
            k = len(micro["ids"]) // len(micro["index"])
            real_P = micro["lengths"].view(k, -1)[0] > 0
            log_probs_Pk = scorer(module.model, on_device).float().cpu().view(k, -1).T
            if not len(found):
                found = torch.full((n, k), float("-inf"), dtype=torch.float32)
            found[micro["index"][real_P]] = log_probs_Pk[real_P]
            done += int(real_P.sum())
            tracker.at(done)
    tracker.close()
    if module.trainer.world_size > 1:  # each rank went through its share
        shared = found.to(module.device)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        found = shared.cpu()
    if not found.isfinite().all():
        raise RunError("the reference gives some completions no finite probability: are the start weights whole?")
    return found


def cache_key(model: nn.Module, data_fingerprint: str, precision: str) -> str | None:
    """SHA-256 over weights, data and precision; None for sharded weights, which no rank has whole."""
    digest = hashlib.sha256(f"{data_fingerprint} {precision} {products.chosen()}".encode())
    digest.update(repr(getattr(model, "plan", None)).encode())  # of an ensemble: which stages answer, and how
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
