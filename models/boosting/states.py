"""What stages read of each training row, computed once: the base's states and the ensemble's, on disk, memory-mapped.

A row is found by the hash of its tokens, so any data module will do, and a row that comes back in another order is
found again. Each row is computed alone, at a batch size of 1 and without its padding: the same bits in any batch, with
or without a cache, before and after a resume; so the cache can be thrown away at any time. Rows beyond the budget are
computed again whenever they are met.

    row:  mid (T', C)   what enters block `start`      H_0 (T, C)   of the base      G (T, C)   of the ensemble

Shapes: B rows, T tokens of a row as it lies in its batch or without its padding, C channels.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
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
        self._slots: dict[bytes, tuple[int, int]] = {}  # hash of a row -> where it begins in the file, its stage
        self._file: _File | None = None
        self.base_rows = 0  # rows the base has run on, for the books
        self.learner_rows = 0

    @torch.no_grad()
    def read(
        self, ids_BT: Tensor, documents_BT: Tensor | None, *, stage: int, lengths_B: Tensor | None = None
    ) -> tuple[Inputs, Tensor]:
        """What a learner of stage `stage` reads of these rows, and G_{stage} (B, T, C) in float32.

        lengths_B: real tokens of each; what comes behind them is padding, whose states are zeros.
        """
        B, T = ids_BT.shape
        ends = [T] * B if lengths_B is None else lengths_B.clamp_min(1).tolist()
        rows = [
            self._row(ids_BT[i : i + 1, :end], None if documents_BT is None else documents_BT[i : i + 1, :end], stage)
            for i, end in enumerate(ends)
        ]
        first, short = rows[0].inputs, [T - end for end in ends]
        mid = None if first.mid_BTC is None else _padded([row.inputs.mid_BTC for row in rows], short)  # type: ignore[misc]
        hidden = _padded([row.inputs.hidden_BTC for row in rows], short)
        inputs = Inputs(ids_BT, hidden, mid, documents_BT, extras=first.extras)
        return inputs, _padded([row.ensemble_1TC for row in rows], short)

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
        if slot < 0 and (slot := self._file.add(inputs)) < 0:
            return
        self._file.write_ensemble(slot, ensemble_1TC)
        self._slots[key] = (slot, stage)


def _padded(rows_1TC: list[Tensor], short: list[int]) -> Tensor:
    """(B, T, C): zeros at the end of each row that is `short` of the longest."""
    return torch.cat([F.pad(row, (0, 0, 0, n)) if n else row for row, n in zip(rows_1TC, short, strict=True)])


class _File:
    """Memory-mapped states of rows behind one another, as many as the budget allows; sparse: as large as what is used.

    Where a row begins is its slot, the same in all three arrays.
    """

    def __init__(self, folder: Path, inputs: Inputs, budget: float, dtype: torch.dtype):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = Path(tempfile.mkdtemp(prefix="states-", dir=folder))
        self.device, self.float = inputs.hidden_BTC.device, inputs.hidden_BTC.dtype
        self.torch_dtype, self.extras, self.used = dtype, inputs.extras, 0
        stored = np.dtype("<u2") if dtype == torch.bfloat16 else np.dtype("<f4")
        kinds = {"hidden": stored, "ensemble": np.dtype("<f4")} | ({} if inputs.mid_BTC is None else {"mid": stored})
        # what enters a block may have more places than the row has tokens: attention sinks
        T, C = inputs.hidden_BTC.shape[1:]
        self.sinks = 0 if inputs.mid_BTC is None else inputs.mid_BTC.shape[1] - T
        place = C * sum(kind.itemsize for kind in kinds.values())
        self.capacity = int(min(budget, shutil.disk_usage(folder).free / 2) // place)
        self.maps = {
            name: np.memmap(self.path / name, dtype=kind, mode="w+", shape=(max(1, self.capacity), C))
            for name, kind in kinds.items()
        }

    def add(self, inputs: Inputs) -> int:
        """Writes what the base says of a row. Returns the row's slot, -1 where there is no room for it."""
        slot, size = self.used, inputs.hidden_BTC.shape[1] + self.sinks
        if slot + size > self.capacity:
            return -1
        self.used += size
        self._store("hidden", slot, inputs.hidden_BTC)
        if inputs.mid_BTC is not None:
            self._store("mid", slot, inputs.mid_BTC)
        return slot

    def read(self, slot: int, ids_1T: Tensor, documents_1T: Tensor | None) -> tuple[Inputs, Tensor]:
        T = ids_1T.shape[1]
        mid = self._tensor("mid", slot, T + self.sinks).to(self.float) if "mid" in self.maps else None
        hidden = self._tensor("hidden", slot, T).to(self.float)
        inputs = Inputs(ids_1T, hidden, mid, documents_1T, extras=self.extras)
        return inputs, self._tensor("ensemble", slot, T)

    def write_ensemble(self, slot: int, ensemble_1TC: Tensor) -> None:
        self.maps["ensemble"][slot : slot + ensemble_1TC.shape[1]] = ensemble_1TC[0].float().cpu().numpy()

    def remove(self) -> None:
        self.maps = {}
        shutil.rmtree(self.path, ignore_errors=True)

    def _tensor(self, name: str, slot: int, size: int) -> Tensor:
        found = torch.from_numpy(np.array(self.maps[name][slot : slot + size]))[None]  # a copy: the map is written to
        if name != "ensemble" and self.torch_dtype == torch.bfloat16:
            found = found.view(torch.bfloat16)
        return found.to(self.device)

    def _store(self, name: str, slot: int, tensor_1TC: Tensor) -> None:
        tensor = tensor_1TC[0].to(self.torch_dtype).cpu()
        stored = (tensor.view(torch.uint16) if self.torch_dtype == torch.bfloat16 else tensor).numpy()
        self.maps[name][slot : slot + len(stored)] = stored


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
    return states * (seq_len + model.n_sink) * model.head.in_features


def check_budget(model: Boosted, rows: int, seq_len: int) -> None:
    """Raises RequestError where gbft.cache=hidden was asked for and the rows do not fit."""
    plan = model.plan
    needed = rows * row_bytes(model, seq_len, getattr(torch, plan.cache_dtype)) / GB
    if plan.cache == "hidden" and needed > plan.cache_gb:
        raise RequestError(
            f"gbft.cache=hidden: {rows:,} rows of {seq_len} tokens need up to {needed:.2f} GB, "
            f"gbft.cache_gb={plan.cache_gb:g}.\n"
            f"Type gbft.cache_gb={needed * 1.05:.2f}, gbft.cache_dtype=bfloat16 (about half as much), or "
            "gbft.cache=auto: what does not fit is computed again."
        )
