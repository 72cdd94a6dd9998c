"""What a model has read of some texts: the window of each row, and its keys and values.

1. `prefill` reads prompts at once, padded on the left; what all of them begin with is read once, and what was read in
   an earlier turn of a conversation not again.
2. `decode` reads one token more of each row, `read_on` several; `settle` takes back those that are not to stay.
3. Past the context the window slides: of a full window the older half is forgotten and the rest read again, row by row,
   so that each row gets what it would get alone (N43).

Shapes: B rows, T tokens, S tokens in the cache (reserved sinks not counted), C channels, V vocabulary.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from models.base import LanguageModel
from models.captured import Captured, is_capturable
from models.layers.cache import KVCache
from models.layers.packing import WORTHWHILE, PackedLinears

SHARED = 16  # tokens that prompts must have in common to be read once


def common(texts: Sequence[Sequence[int]]) -> int:
    """Tokens that all begin with."""
    most = min(map(len, texts))
    return next((i for i in range(most) if len({text[i] for text in texts}) > 1), most)


class Windows:
    """Rows that are read together.

    Args:
        ahead: tokens that a row may read beyond those that stay.

    `before`: one row that was read by the same model, which is used up where the prompt begins as it did.
    """

    def __init__(self, model: LanguageModel, prompts: list[list[int]], *, use_cache: bool, ahead: int = 0):
        self.model, self.prompts, self.ahead = model, prompts, ahead
        self.use_cache = use_cache and model.has_cache
        self.device = model.head.weight.device
        self.source = [len(prompt) - 1 for prompt in prompts]  # an encoder's share: all but what starts the answer
        self.front = model.n_sink  # slots that hold no token of the text
        self.ids: list[list[int]] = []  # all tokens of each row
        self.used: list[int] = []  # how many of them, the latest, are in its window
        self.cache = KVCache(model.n_layer)
        self.packed: PackedLinears | None = None
        self.captured = Captured(model) if self.use_cache and is_capturable(model) else None
        self.before: Windows | None = None
        self.slid = False  # whether a window has lost its beginning
        self.block, self.real = 0, [0] * len(prompts)  # slots read since `settle`, and how many of them hold tokens

    def prefill(self, max_new_tokens: int, n: int) -> Tensor:
        """Reads the prompts; logits of the token after each, (B, V), B = prompts * n."""
        self.ids, self.used = self.prompts, [len(prompt) for prompt in self.prompts]
        longest, context = max(self.used), self.model.seq_len
        # One row slides when its window is full. Several slide at different steps; the slack saves moving all of them.
        slack = context // 2 if len(self.prompts) * n > 1 else 0
        room = min(longest + max_new_tokens, context + slack) + self.ahead
        if self.use_cache and max_new_tokens >= WORTHWHILE:
            known = None if self.before is None else self.before.packed
            rows = len(self.prompts) * n * (1 + self.ahead) if len(self.prompts) * n > 1 else 1
            self.packed = known or PackedLinears(self.model.decoding, rows=rows)
        logits_BV = self._read_prompts(self.front + room)
        if self.model.encodes_source and self.use_cache:
            self.used = [1] * len(self.used)  # sources are read: from here on a row is its answer
        self.cache.repeat(n)
        self.ids = [list(ids) for ids in self.ids for _ in range(n)]
        self.used = [used for used in self.used for _ in range(n)]
        self.source = [length for length in self.source for _ in range(n)]
        self.real = [0] * len(self.ids)
        self.before = None
        return logits_BV.repeat_interleave(n, dim=0)

    def _read_prompts(self, capacity: int) -> Tensor:
        if (known := self._known()) and self.before is not None:
            self.cache, had = self.before.cache, self.before.used[0]
            self.cache.rewind([had - known], keep=self.front)
            self.cache.widen(capacity, keep=self.front)
            return self._read_behind(known)
        self.cache = KVCache(self.model.n_layer, capacity)
        if shared := self._shared():
            self._read([self.prompts[0][:shared]], [shared], self.cache)
            self.cache.repeat(len(self.prompts))
            return self._read_behind(shared)
        return self._read(self.ids, self.used, self.cache)

    def _known(self) -> int:
        """Tokens of the one prompt that `before` has read; 0 where that is of no use."""
        before = self.before
        if before is None or before.slid or not self.use_cache or self.model.encodes_source:
            return 0
        if len(before.ids) != 1 or len(self.prompts) != 1:
            return 0
        read, prompt = before.ids[0][: before.used[0]], self.prompts[0]
        known = common([read, prompt[:-1]])
        # what else a cache keeps of the latest tokens (n-grams, smears) is that of the end alone
        ends = before.cache.last_ids_BN is None and before.cache.last_stream_B1C is None
        return known if known >= SHARED and (ends or known == len(read)) else 0

    def _shared(self) -> int:
        """Tokens that all prompts begin with, where that is worth reading once; each keeps one of its own."""
        if not self.use_cache or self.model.encodes_source or len(self.prompts) == 1:
            return 0
        shared = common([prompt[:-1] for prompt in self.prompts])
        return shared if shared >= SHARED else 0

    def _read_behind(self, known: int) -> Tensor:
        """Logits after each prompt, whose first `known` tokens are in the cache."""
        self.used, lengths = [known] * len(self.prompts), [len(prompt) - known for prompt in self.prompts]
        hidden_BTC = self.read_on([prompt[known:] for prompt in self.prompts])
        self.settle(lengths)
        last_BC = torch.stack([hidden_TC[n - 1] for hidden_TC, n in zip(hidden_BTC, lengths, strict=True)])
        return self.logits_of(last_BC)

    def _read(self, ids: list[list[int]], used: list[int], cache: KVCache) -> Tensor:
        """A forward pass over the windows of some rows, padded on the left."""
        T = max(used)
        windows = [[0] * (T - u) + row[len(row) - u :] for row, u in zip(ids, used, strict=True)]
        ids_BT = torch.tensor(windows, device=self.device)
        padding_BT = None if min(used) == T else self._padding(used, T)
        source_B = torch.tensor(self.source, device=self.device) if self.model.encodes_source else None
        known = cache if self.use_cache else None
        with self._fast(T):
            out = self.model(ids_BT, padding_BT=padding_BT, cache=known, source_B=source_B, logits="last")
        return out.logits[:, -1, : self.model.n_ids]

    def decode(self, token_B: Tensor) -> Tensor:
        """Logits of the token after `token_B`, the newest of each row."""
        self.slide()
        self.used = [used + 1 for used in self.used]
        if not self.use_cache:
            return self._read(self.ids, self.used, self.cache)
        if self.cache.length == self.cache.capacity:
            self.cache.forget(self.cache.length - self.front + 1 - max(self.used), keep=self.front)
        if self.captured is not None and (found := self.captured.step(token_B, self.cache, self.used)) is not None:
            return found[:, : self.model.n_ids]
        S = self.cache.length - self.front + 1
        padding_BS = None if min(self.used) == S else self._padding(self.used, S)
        with self._fast(1):
            out = self.model(token_B.unsqueeze(1), padding_BT=padding_BS, cache=self.cache, logits="last")
        return out.logits[:, -1, : self.model.n_ids]

    def read_on(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Hidden states (B, T, C) after some more tokens of each row, which may have none: T is the most that one has.

        They are in the cache, not in the windows, until `settle`. A row that once had fewer than others gets no more.
        """
        T = max(map(len, tokens))
        length = self.cache.length - self.front
        if self.block == 0:
            self.cache.mark()
            unused = length - max(self.used)
            if unused and self.front + length + T + self.ahead > (self.cache.capacity or 0):
                self.cache.forget(unused, keep=self.front)
                length -= unused
        before = [used + real for used, real in zip(self.used, self.real, strict=True)]
        self.real = [real + len(row) for real, row in zip(self.real, tokens, strict=True)]
        begins, self.block = length - self.block, self.block + T
        padding_BS = None
        if min(before) < length or any(len(row) < T for row in tokens):
            at = torch.arange(length + T, device=self.device)
            first_B1 = torch.tensor([begins - used for used in self.used], device=self.device).unsqueeze(1)
            end_B1 = torch.tensor([begins + real for real in self.real], device=self.device).unsqueeze(1)
            padding_BS = (at >= first_B1) & (at < end_B1)
        ids_BT = torch.tensor([[*row, *[0] * (T - len(row))] for row in tokens], device=self.device)
        with self._fast(T):
            return self.model(ids_BT, padding_BT=padding_BS, cache=self.cache).hidden_BTC

    def logits_of(self, hidden: Tensor) -> Tensor:
        """(..., C) of `read_on` -> (..., V). The head is a linear layer as well, often the largest."""
        with self._fast(1 if hidden.dim() == 2 else hidden.shape[1]):
            return self.model.logits_of(hidden)[..., : self.model.n_ids]

    def _fast(self, T: int) -> AbstractContextManager[None]:
        """Linear layers laid out for few tokens, once they are. One row's prompt is read without: it would need packed
        copies of all weights, of which single tokens make no use."""
        if self.packed is None or (self.packed.rows == 1 and 1 + self.ahead < T):
            return nullcontext()
        return self.packed.active()

    def settle(self, kept: Sequence[int]) -> None:
        """Of the tokens read since the last time, the first `kept` of each row enter its window; the rest is unread.

        They must be the row's tokens in `ids` behind those of the window.
        """
        self.cache.rewind([self.block - k for k in kept], keep=self.front)
        self.used = [used + k for used, k in zip(self.used, kept, strict=True)]
        self.block, self.real = 0, [0] * len(self.used)

    def slide(self, *, unread: int = 1, room: int = 1) -> None:
        """Where a window has no room for so many tokens, its older half is forgotten.

        Args:
            unread: the newest ids of each row, which are not read yet. room: for tokens behind the window, the first of
                them the last that is unread.
        """
        half = max(1, self.model.seq_len // 2)
        for i, used in enumerate(self.used):
            if used + unread - 1 + room > self.model.seq_len and not self.model.encodes_source:
                self._slide(i, half - unread, unread)

    def _slide(self, row: int, left: int, unread: int) -> None:
        """The window of one row becomes the `left` tokens before its newest, read again from position 0."""
        self.used[row], self.slid = left, True
        if left and self.use_cache:
            fresh = KVCache(self.model.n_layer, self.front + left)
            self._read([self.ids[row][:-unread]], [left], fresh)
            self.cache.put_row(row, fresh, keep=self.front)

    def keep(self, rows: list[int], *, within_prompts: bool = False) -> None:
        """Goes on with these rows, in this order; one may be named twice. `within_prompts`: each in the place of a row
        of the same prompt."""
        self.ids, self.used = [list(self.ids[i]) for i in rows], [self.used[i] for i in rows]
        self.source, self.real = [self.source[i] for i in rows], [0] * len(rows)
        self.cache.select(torch.tensor(rows, device=self.device), carried=not within_prompts)

    def row(self, i: int) -> "Windows":
        """A copy of one row that no other one's padding stands beside, to go on from."""
        made = Windows(self.model, [list(self.ids[i])], use_cache=self.use_cache)
        made.ids, made.used, made.slid = [list(self.ids[i])], [self.used[i]], self.slid
        made.cache = self.cache.row(i)
        return made

    def _padding(self, used: list[int], S: int) -> Tensor:
        """(B, S), True at the last `used` slots of each row."""
        return torch.arange(S, device=self.device) >= S - torch.tensor(used, device=self.device).unsqueeze(1)
