"""Keys and values of the tokens already read: preallocated once, filled from the left, handed out as views.

    prefill:  |  a  b  c  |           length 3         a batch of unequal prompts is padded on the left, so that
    decode:   |  a  b  c  d  |        length 4         the newest token of every row is in the same slot

Shapes: B batch, H heads of keys and values (fewer than query heads with GQA), T new tokens, S slots filled, D channels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from models.layers.rope import Rope


class Slot(NamedTuple):
    """Where the next token of each row goes, in numbers on the device: so one step's kernels are every step's.

    With it attention is given slots that are not filled yet, and a mask that leaves them out.
    """

    at: Tensor  # (1,) the slot
    first_B: Tensor  # (B,) the first slot of each row that holds a token
    seen: int  # slots that attention is given

    @property
    def positions_B1(self) -> Tensor:
        return (self.at - self.first_B).unsqueeze(1)

    def mask_B1S(self, window: int | None = None) -> Tensor:
        """True at the slots that the new token sees: its row's, or the latest `window` of them."""
        slots_S = torch.arange(self.seen, device=self.at.device)
        seen_BS = (slots_S >= self.first_B.unsqueeze(1)) & (slots_S <= self.at)
        seen_BS = seen_BS if window is None else seen_BS & (slots_S > self.at - window)
        return seen_BS.unsqueeze(1)


class KVCache:
    """(B, H, capacity, D) keys and values per layer. All layers share `length`, which the model's trunk advances.

    Args:
        n_layer: layers that will append. capacity: slots to allocate; None leaves it to the model (its context).
    """

    def __init__(self, n_layer: int, capacity: int | None = None):
        self.length = 0  # slots that every layer has filled
        self.capacity = capacity
        self.slot: Slot | None = None  # where it says where the next token goes, `length` does not
        self.last_ids_BN: Tensor | None = None  # the latest ids, for models that look back at them (n-grams)
        self.carried: dict[str, Tensor] = {}  # what else belongs to each row: states of an encoder
        self.last_stream_B1C: Tensor | None = None  # the latest embeddings, for models that smear them
        self._trail: dict[str, list[Tensor]] | None = None  # what these two were since `mark`
        self._keys: list[Tensor | None] = [None] * n_layer
        self._values: list[Tensor | None] = [None] * n_layer

    def append(self, layer: int, k_BHTD: Tensor, v_BHTD: Tensor, capacity: int) -> tuple[Tensor, Tensor]:
        """Store T new positions of one layer; return all S = length + T of them, as views."""
        B, H, T, D = k_BHTD.shape
        if self.slot is not None:
            return self._put(layer, k_BHTD, v_BHTD, self.slot)
        keys, values, end = self._keys[layer], self._values[layer], self.length + T
        if keys is None or values is None:
            slots = capacity if self.capacity is None else self.capacity
            keys = self._keys[layer] = k_BHTD.new_empty(B, H, slots, D)
            values = self._values[layer] = v_BHTD.new_empty(B, H, slots, v_BHTD.shape[-1])
        if end > keys.shape[2]:
            raise ValueError(f"a cache of {keys.shape[2]} slots cannot take {T} tokens after {self.length}")
        keys[:, :, self.length : end] = k_BHTD
        values[:, :, self.length : end] = v_BHTD
        return keys[:, :, :end], values[:, :, :end]

    def _put(self, layer: int, k_BH1D: Tensor, v_BH1D: Tensor, slot: Slot) -> tuple[Tensor, Tensor]:
        keys, values = self._keys[layer], self._values[layer]
        assert keys is not None, "nothing was read yet"
        assert values is not None
        keys.index_copy_(2, slot.at, k_BH1D.to(keys.dtype))
        values.index_copy_(2, slot.at, v_BH1D.to(values.dtype))
        return keys[:, :, : slot.seen], values[:, :, : slot.seen]

    @property
    def memory(self) -> Tensor | None:
        """The first layer's keys, all slots: another tensor means that all layers lie elsewhere than before."""
        return self._keys[0]

    def clear_rest(self) -> None:
        """0 in the slots that are not filled: what memory held before may be no number, which no mask takes away."""
        for stored in (*self._keys, *self._values):
            if stored is not None:
                stored[:, :, self.length :] = 0

    def repeat(self, n: int) -> None:
        """Each row n times over, side by side: n continuations of one prefill."""
        self._map(lambda x: x.repeat_interleave(n, dim=0))

    def select(self, rows_N: Tensor, *, carried: bool = True) -> None:
        """Only these rows, in this order; without `carried` what is carried stays where it is."""
        source = self.carried
        self.carried = source if carried else {}
        self._map(lambda x: x.index_select(0, rows_N))
        self.carried = self.carried if carried else source

    def forget(self, n: int, *, keep: int = 0) -> None:
        """Drops the n oldest slots of every row, but for the first `keep` (sinks); the others move to the left."""
        for stored in (*self._keys, *self._values):
            if stored is not None:
                stored[:, :, keep : self.length - n] = stored[:, :, keep + n : self.length].clone()
        self.length -= n

    def row(self, row: int) -> "KVCache":
        """A copy of the filled slots of one row."""
        made = KVCache(len(self._keys), self.length)
        made.length = self.length
        copy = lambda x: None if x is None else x[row : row + 1].clone()  # noqa: E731
        made._keys = [None if x is None else x[row : row + 1, :, : self.length].clone() for x in self._keys]
        made._values = [None if x is None else x[row : row + 1, :, : self.length].clone() for x in self._values]
        made.last_ids_BN, made.last_stream_B1C = copy(self.last_ids_BN), copy(self.last_stream_B1C)
        return made

    @property
    def nbytes(self) -> int:
        """Of keys and values."""
        return sum(x.nbytes for x in (*self._keys, *self._values) if x is not None)

    def mark(self) -> None:
        """From here on what is read can be unread by `rewind`."""
        states = {"last_ids_BN": self.last_ids_BN, "last_stream_B1C": self.last_stream_B1C}
        self._trail = {name: [state] for name, state in states.items() if state is not None}

    def note(self, name: str, states: Tensor) -> None:
        """Called with one state a token, (B, T, ...), by a model that keeps the latest of them under `name`."""
        if self._trail is not None and name in self._trail:
            self._trail[name].append(states)

    def rewind(self, dropped: Sequence[int], *, keep: int = 0) -> None:
        """Unreads so many of the newest slots of each row, all read since `mark`.

        Rows that lose more than others move to the right, behind the first `keep` slots: newest under newest.
        """
        least = min(dropped)
        self.length -= least
        for row, n in enumerate(dropped):
            if shift := n - least:
                for stored in (*self._keys, *self._values):
                    if stored is not None:
                        moved = stored[row, :, keep : self.length - shift].clone()
                        stored[row, :, keep + shift : self.length] = moved
        for name, parts in (self._trail or {}).items():
            states, width = torch.cat(parts, dim=1), parts[0].shape[1]
            ends = [states.shape[1] - n for n in dropped]
            setattr(self, name, torch.stack([s[end - width : end] for s, end in zip(states, ends, strict=True)]))
        self._trail = None

    def turn_back(self, layer: int, n: int, rope: Rope, *, keep: int = 0) -> None:
        """Keys behind the first `keep` as if they stood n positions earlier, which is where `forget` has moved them."""
        keys = self._keys[layer]
        if keys is not None:
            recent = keys[:, :, keep : self.length]
            recent.copy_(rope.turned_back(recent, n))

    def put_row(self, row: int, other: "KVCache", *, keep: int = 0) -> None:
        """Row `row` becomes the only row of `other`: `keep` slots in front, the newest token in the newest slot."""
        recent = other.length - keep
        for mine, theirs in zip((*self._keys, *self._values), (*other._keys, *other._values), strict=True):
            if mine is not None and theirs is not None:
                mine[row, :, :keep] = theirs[0, :, :keep]
                mine[row, :, self.length - recent : self.length] = theirs[0, :, keep : other.length]
        if self.last_ids_BN is not None and other.last_ids_BN is not None:
            self.last_ids_BN[row] = other.last_ids_BN[0]
        if self.last_stream_B1C is not None and other.last_stream_B1C is not None:
            self.last_stream_B1C[row] = other.last_stream_B1C[0]

    def join(self, other: "KVCache", *, keep: int = 0) -> None:
        """The rows of `other` behind these, each with its newest token in the newest slot and `keep` slots in front.

        What slots in between hold is never looked at. Encoders' states (`carried`) are not joined.
        """
        length = max(self.length, other.length)
        self.widen(max(length, self.capacity or 0), keep=keep, length=length)
        other.widen(self.capacity or length, keep=keep, length=length)
        for mine, theirs in ((self._keys, other._keys), (self._values, other._values)):
            for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
                mine[i] = b if a is None else a if b is None else torch.cat([a, b])
        for name in ("last_ids_BN", "last_stream_B1C"):
            if (b := getattr(other, name)) is not None:
                setattr(self, name, b if (a := getattr(self, name)) is None else torch.cat([a, b]))

    def widen(self, capacity: int, *, keep: int = 0, length: int | None = None) -> None:
        """So many slots, of which the first `length` are filled; what is stored moves to their right end."""
        length = self.length if length is None else length
        shift = length - self.length

        def moved(x: Tensor | None) -> Tensor | None:
            if x is None:
                return None
            new = x.new_zeros(x.shape[0], x.shape[1], capacity, x.shape[3])
            new[:, :, :keep] = x[:, :, :keep]
            new[:, :, keep + shift : length] = x[:, :, keep : self.length]
            return new

        if shift or capacity != self.capacity:
            self._keys, self._values = [moved(x) for x in self._keys], [moved(x) for x in self._values]
        self.length, self.capacity = length, capacity

    def _map(self, change) -> None:
        """Applies `change` to every tensor, whose first dimension is the batch."""
        self._keys = [None if x is None else change(x) for x in self._keys]
        self._values = [None if x is None else change(x) for x in self._values]
        self.carried = {name: change(x) for name, x in self.carried.items()}
        if self.last_ids_BN is not None:
            self.last_ids_BN = change(self.last_ids_BN)
        if self.last_stream_B1C is not None:
            self.last_stream_B1C = change(self.last_stream_B1C)


def positions_of(T: int, start: int, padding_BT: Tensor | None, device: torch.device) -> Tensor:
    """Positions of T new tokens after `start` slots: (T,), or (B, T) where padding shifts them from row to row.

    [pad, pad, a, b] -> [0, 0, 0, 1]: a padded row counts from its first real token, as it would alone.
    """
    if padding_BT is None:
        return torch.arange(start, start + T, device=device)
    return (padding_BT.long().cumsum(dim=1) - 1).clamp_min(0)[:, -T:]
