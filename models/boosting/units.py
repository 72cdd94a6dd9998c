"""What is drawn, held out and counted as one: a row of a batch, or of pairs of answers both rows.

Shapes: R rows of a unit, or of all units that are told of; U units of a batch, T tokens, N tokens that count.
"""

import hashlib
from typing import NamedTuple

import torch
from torch import Tensor

from batch import IGNORE, Batch
from models.boosting.plan import Plan
from models.boosting.states import row_key, share_of


class Tokens(NamedTuple):
    """Tokens that count, flat: what follows each, which of R rows it lies in, and of pairs what the reference says."""

    targets_N: Tensor
    rows_N: Tensor
    reference_R: Tensor | None = None


class Unit(NamedTuple):
    """One row of a batch, or the two rows of a pair: what is drawn, held out, and counted as one. R rows, T tokens."""

    ids_RT: Tensor
    targets_RT: Tensor
    documents_RT: Tensor | None = None
    lengths_R: Tensor | None = None
    index_1: Tensor | None = None  # of a pair
    reference_R: Tensor | None = None  # log-probability of each answer of a pair under the reference

    @property
    def identity(self) -> bytes:
        documents = [None] * len(self.ids_RT) if self.documents_RT is None else list(self.documents_RT)
        found = [identity_of(*row) for row in zip(self.ids_RT, self.targets_RT, documents, strict=True)]
        return found[0] if len(found) == 1 else hashlib.blake2b(b"".join(found), digest_size=16).digest()

    @property
    def side(self) -> bytes:
        """What decides whether it is held out: of a pair its prompt, whose other pairs must lie on the same side."""
        if len(self.ids_RT) == 1:
            return self.identity
        first = int((self.targets_RT[0] != IGNORE).to(torch.uint8).argmax())
        return row_key(self.ids_RT[0, : first + 1], None)

    @property
    def tokens(self) -> Tokens:
        """Those that count."""
        counted_RT = self.targets_RT != IGNORE
        return Tokens(self.targets_RT[counted_RT], counted_RT.nonzero()[:, 0], self.reference_R)

    def to(self, device: torch.device) -> "Unit":
        return Unit(*(None if tensor is None else tensor.to(device) for tensor in self))  # type: ignore[arg-type]

    @property
    def batch(self) -> Batch:
        """It alone, as a batch."""
        named = {"ids": self.ids_RT, "targets": self.targets_RT, "documents": self.documents_RT}
        named |= {"lengths": self.lengths_R, "index": self.index_1}
        return {name: value for name, value in named.items() if value is not None}


def units_of(batch: Batch, plan: Plan) -> list[Unit]:
    """Rows of a batch, or pairs, whose two rows lie half a batch apart."""
    U = len(batch["ids"]) // plan.unit_rows

    def unit(i: int) -> Unit:
        ids, targets, documents, lengths = (
            batch[name][i::U] if name in batch else None for name in ("ids", "targets", "documents", "lengths")
        )
        assert ids is not None
        assert targets is not None
        return Unit(ids, targets, documents, lengths, batch["index"][i : i + 1] if plan.of_pairs else None)

    return [unit(i) for i in range(U)]


def identity_of(ids_T: Tensor, targets_T: Tensor, documents_T: Tensor | None) -> bytes:
    """A hash of a row up to its last target: the same however far it is padded to lie beside longer ones."""
    counted = (targets_T != IGNORE).nonzero()
    end = int(counted[-1]) + 1 if len(counted) else 0
    return row_key(ids_T[:end], None if documents_T is None else documents_T[:end])


def is_dev(unit: Unit, seed: int, plan: Plan) -> bool:
    """Whether it is held out of training, to choose steps; by a hash."""
    return share_of(unit.side, 0, seed) < plan.dev_fraction


def joined(rows: list[Unit]) -> Tokens:
    """The tokens of all of them; of pairs, all first rows are numbered before all second ones."""
    parts, U = [row.tokens for row in rows], len(rows)
    numbers = [part.rows_N * U + i for i, part in enumerate(parts)]
    paired = parts[0].reference_R is not None
    reference = torch.stack([part.reference_R for part in parts]).T.flatten() if paired else None  # type: ignore[misc]
    return Tokens(torch.cat([part.targets_N for part in parts]), torch.cat(numbers), reference)
