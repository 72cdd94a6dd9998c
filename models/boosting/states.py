"""What stages read of each training row, computed once: the base's states and the ensemble's, on disk, memory-mapped.

A row is found by the hash of its tokens, so any data module will do, and a row that comes back in another order is
found again. Each row is computed alone, at a batch size of 1: the same bits in any batch, with or without a cache,
before and after a resume; so the cache can be thrown away at any time. Rows beyond the budget are computed again
whenever they are met.

    row:  mid (T', C)   what enters block `start`      H_0 (T, C)   of the base      G (T, C)   of the ensemble

Shapes: B rows, T tokens, C channels.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from errors import RequestError
from models.boosting.ensemble import Boosted
from models.boosting.passes import Inputs

GB = 1e9


class RowState(NamedTuple):
    """One row, (1, T, C) each; `stage` stages are in G."""

    inputs: Inputs
    ensemble_1TC: Tensor
    stage: int


class RowStates:
    """Args:
    model: the ensemble. folder: for the file; None keeps nothing. budget: bytes. dtype: of what the base says.
    """

    def __init__(self, model: Boosted, folder: Path | None, *, budget: float = 0.0, dtype: torch.dtype = torch.float32):
        self.model, self.folder, self.budget, self.dtype = model, folder, budget, dtype
        self._slots: dict[bytes, tuple[int, int]] = {}  # hash of a row -> its slot, its stage
        self._file: _File | None = None
        self.base_rows = 0  # rows the base has run on, for the books
        self.learner_rows = 0

    @torch.no_grad()
    def read(self, ids_BT: Tensor, documents_BT: Tensor | None, *, stage: int) -> tuple[Inputs, Tensor]:
        """What a learner of stage `stage` reads of these rows, and G_{stage} (B, T, C) in float32."""
        rows = [
            self._row(ids_BT[i : i + 1], None if documents_BT is None else documents_BT[i : i + 1], stage)
            for i in range(len(ids_BT))
        ]
        first = rows[0].inputs
        mid = None if first.mid_BTC is None else torch.cat([row.inputs.mid_BTC for row in rows])  # type: ignore[misc]
        inputs = Inputs(
            ids_BT, torch.cat([row.inputs.hidden_BTC for row in rows]), mid, documents_BT, extras=first.extras
        )
        return inputs, torch.cat([row.ensemble_1TC for row in rows])

    def forget_ensemble(self) -> None:
        """After steps of earlier stages were changed: G of every row must be added up anew."""
        self._slots = {key: (slot, -1) for key, (slot, _) in self._slots.items()}

    def close(self) -> None:
        if self._file is not None:
            self._file.remove()
            self._file, self._slots = None, {}

    def _row(self, ids_1T: Tensor, documents_1T: Tensor | None, stage: int) -> RowState:
        key = row_key(ids_1T[0], None if documents_1T is None else documents_1T[0])
        slot, known = self._slots.get(key, (-1, -1))
        if slot >= 0:
            assert self._file is not None
            inputs, ensemble = self._file.read(slot, ids_1T, documents_1T)
            if known == -1 or known > stage:
                known, ensemble = 0, inputs.hidden_BTC.float()
        else:
            inputs = self._rounded(self.model.inputs(ids_1T, documents_1T))
            self.base_rows += 1
            known, ensemble = 0, inputs.hidden_BTC.float()
        changed = slot < 0 or known < stage
        for m in range(known, stage):
            if self.model.plan.space == "logit" and (eta := self.model.eta(m, of=stage)) != 0:
                ensemble = ensemble + eta * self.model.correction(m, inputs)
                self.learner_rows += 1
        if changed:
            self._write(key, slot, inputs, ensemble, stage)
        return RowState(inputs, ensemble, stage)

    def _rounded(self, inputs: Inputs) -> Inputs:
        """As the cache would give it back, so that its being there changes nothing."""
        hidden = inputs.hidden_BTC.to(self.dtype).to(inputs.hidden_BTC.dtype)
        mid = inputs.mid_BTC
        return inputs._replace(hidden_BTC=hidden, mid_BTC=None if mid is None else mid.to(self.dtype).to(mid.dtype))

    def _write(self, key: bytes, slot: int, inputs: Inputs, ensemble_1TC: Tensor, stage: int) -> None:
        if self.folder is None:
            return
        if self._file is None:
            self._file = _File(self.folder, inputs, self.budget, self.dtype)
        if not self._file.fits(inputs):
            return
        if slot < 0:
            if len(self._slots) >= self._file.capacity:
                return
            slot = len(self._slots)
            self._file.write_base(slot, inputs)
        self._file.write_ensemble(slot, ensemble_1TC)
        self._slots[key] = (slot, stage)


class _File:
    """Three memory-mapped arrays of as many rows as the budget allows; sparse: as large as what is used."""

    def __init__(self, folder: Path, inputs: Inputs, budget: float, dtype: torch.dtype):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = Path(tempfile.mkdtemp(prefix="states-", dir=folder))
        self.device, self.float = inputs.hidden_BTC.device, inputs.hidden_BTC.dtype
        self.torch_dtype = dtype
        stored = np.dtype("<u2") if dtype == torch.bfloat16 else np.dtype("<f4")
        shapes = {"hidden": (inputs.hidden_BTC, stored), "ensemble": (inputs.hidden_BTC, np.dtype("<f4"))}
        if inputs.mid_BTC is not None:
            shapes["mid"] = (inputs.mid_BTC, stored)
        row = sum(tensor[0].numel() * kind.itemsize for tensor, kind in shapes.values())
        self.shape, self.extras = inputs.hidden_BTC.shape[1:], inputs.extras
        self.capacity = int(min(budget, shutil.disk_usage(folder).free / 2) // row)
        self.maps = {
            name: np.memmap(self.path / name, dtype=kind, mode="w+", shape=(max(1, self.capacity), *tensor.shape[1:]))
            for name, (tensor, kind) in shapes.items()
        }

    def fits(self, inputs: Inputs) -> bool:
        return inputs.hidden_BTC.shape[1:] == self.shape

    def read(self, slot: int, ids_1T: Tensor, documents_1T: Tensor | None) -> tuple[Inputs, Tensor]:
        mid = self._tensor("mid", slot).to(self.float) if "mid" in self.maps else None
        hidden = self._tensor("hidden", slot).to(self.float)
        inputs = Inputs(ids_1T, hidden, mid, documents_1T, extras=self.extras)
        return inputs, self._tensor("ensemble", slot)

    def write_base(self, slot: int, inputs: Inputs) -> None:
        self._store("hidden", slot, inputs.hidden_BTC)
        if inputs.mid_BTC is not None:
            self._store("mid", slot, inputs.mid_BTC)

    def write_ensemble(self, slot: int, ensemble_1TC: Tensor) -> None:
        self.maps["ensemble"][slot] = ensemble_1TC[0].float().cpu().numpy()

    def remove(self) -> None:
        self.maps = {}
        shutil.rmtree(self.path, ignore_errors=True)

    def _tensor(self, name: str, slot: int) -> Tensor:
        found = torch.from_numpy(np.array(self.maps[name][slot]))[None]  # a copy: the map is written to
        if name != "ensemble" and self.torch_dtype == torch.bfloat16:
            found = found.view(torch.bfloat16)
        return found.to(self.device)

    def _store(self, name: str, slot: int, tensor_1TC: Tensor) -> None:
        tensor = tensor_1TC[0].to(self.torch_dtype).cpu()
        self.maps[name][slot] = (tensor.view(torch.uint16) if self.torch_dtype == torch.bfloat16 else tensor).numpy()


def row_key(ids_T: Tensor, documents_T: Tensor | None) -> bytes:
    """A hash of what the base sees of a row."""
    digest = hashlib.blake2b(ids_T.cpu().numpy().tobytes(), digest_size=16)
    if documents_T is not None:
        digest.update(documents_T.cpu().numpy().tobytes())
    return digest.digest()


def share_of(key: bytes, purpose: int, seed: int) -> float:
    """A number in [0, 1) that belongs to a row, a purpose and a seed: draws of rows that need no state."""
    salt = purpose.to_bytes(4, "little") + (seed % 2**64).to_bytes(8, "little")
    return int.from_bytes(hashlib.blake2b(key, digest_size=8, salt=salt).digest(), "little") / 2**64


def row_bytes(model: Boosted, seq_len: int, dtype: torch.dtype) -> int:
    """What the cache needs for one row."""
    small = 2 if dtype == torch.bfloat16 else 4
    states = (2 if model.start is not None else 1) * small + 4
    return states * seq_len * model.head.in_features


def check_budget(model: Boosted, rows: int, seq_len: int) -> None:
    """Raises RequestError where gbft.cache=hidden was asked for and the rows do not fit."""
    plan = model.plan
    needed = rows * row_bytes(model, seq_len, getattr(torch, plan.cache_dtype)) / GB
    if plan.cache == "hidden" and needed > plan.cache_gb:
        raise RequestError(
            f"gbft.cache=hidden: {rows:,} rows of {seq_len} tokens need {needed:.2f} GB, "
            f"gbft.cache_gb={plan.cache_gb:g}.\n"
            f"Type gbft.cache_gb={needed * 1.05:.2f}, gbft.cache_dtype=bfloat16 (about half as much), or "
            "gbft.cache=auto: what does not fit is computed again."
        )
