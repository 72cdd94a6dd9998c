"""What a draft writes ahead of each row in one round of speculative decoding (models/speculative.py).

Shapes: B rows, K tokens ahead at most, V vocabulary.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from errors import RequestError, RunError
from models.guides import only
from models.sampling import draw, penalise

if TYPE_CHECKING:
    from models.speculative import Speculative

DRAW, PROPOSE, ACCEPT = 0, 1, 2  # what a uniform number is for


def judge(p_BKV: Tensor, q_BKV: Tensor, ids_BK: Tensor, uniform_BK: Tensor) -> Tensor:
    """(B, K) bool: whether each drafted id stays, drawn from q, where p is wanted."""
    p_BK, q_BK = (x.gather(2, ids_BK.unsqueeze(2)).squeeze(2).double() for x in (p_BKV, q_BKV))
    return uniform_BK * q_BK < p_BK


def best_ahead(accepted: float, cost: float, most: int) -> int:
    """Tokens ahead for the most tokens in a given time (2211.17192, theorem 3.8), at least one.

    Args:
        accepted: share of drafted tokens that stay. cost: of a token of the draft, in readings of the model.
    """
    gain = [sum(accepted**i for i in range(k + 1)) / (cost * k + 1) for k in range(1, most + 1)]
    return 1 + gain.index(max(gain))


class Proposals:
    """The tokens that a draft writes ahead of each row in one round. `alive`: rows that are written to."""

    def __init__(self, engine: "Speculative", alive: list[bool]):
        self.engine, self.alive, self.reader, self.lag = engine, alive, engine.reader, engine.lag
        self.sizes = [self._size(i) if lives else 0 for i, lives in enumerate(alive)]
        self.ids: list[list[int]] = [[] for _ in alive]
        self.forced: list[list[bool]] = [[] for _ in alive]
        self.masks: list[list[np.ndarray | None]] = [[] for _ in alive]
        self.q: list[Tensor] = []  # (B, V) of each step
        self.seen: list[Tensor] = [] if engine.seen_BV is None else [engine.seen_BV.clone()]
        self.reads = any(lives and engine.left(i) > 1 for i, lives in enumerate(alive))
        if self.reads:
            self._write()

    def _size(self, i: int) -> int:
        """Tokens ahead, from the row alone."""
        engine, (judged, accepted) = self.engine, self.engine.records[i]
        best = engine.draft.ahead or best_ahead(accepted / judged, engine.cost, engine.most)
        return max(0, min(best, engine.most, engine.left(i) - 1, engine.model.seq_len - engine.used[i] - 1))

    def _write(self) -> None:
        self.reader.slide(unread=self.lag, room=self.engine.most)
        fed = [ids[-self.lag :] if lives else [] for ids, lives in zip(self.reader.ids, self.alive, strict=True)]
        going = [size > 0 for size in self.sizes]
        while True:
            hidden_BTC = self.reader.read_on(fed)
            if not any(going):
                return
            self._step(self.reader.logits_of(hidden_BTC[:, -1]), going)
            for i, ids in enumerate(self.ids):
                going[i] = going[i] and len(ids) < self.sizes[i] and ids[-1] not in self.engine.stop_ids
            if not any(going):
                return
            fed = [ids[-1:] if goes else [] for ids, goes in zip(self.ids, going, strict=True)]

    def _step(self, logits_BV: Tensor, going: list[bool]) -> None:
        """One token more of the rows that are `going`; those whose guide leaves nothing go no further."""
        engine, step = self.engine, len(self.q)
        logits_BV = logits_BV[:, : engine.model.n_ids or engine.model.vocab_size].float()
        if self.seen:
            logits_BV = penalise(logits_BV, self.seen[-1], engine.sampling.repetition_penalty)
        forced: list[int | None] = [None] * len(going)
        masks: list[np.ndarray | None] = [None] * len(going)
        if engine.guided is not None:
            texts = engine.texts(self.ids)
            forced = engine.guided.forced(texts, going)
            for i, id in enumerate(forced):
                if going[i] and id is None:
                    try:
                        masks[i] = engine.guided.allowed(i, texts[i])
                    except (RequestError, RunError):
                        going[i] = False
            logits_BV = only(logits_BV, masks)
        q_BV = engine.probs(logits_BV)
        token_B = draw(q_BV, engine.uniform(PROPOSE, step))
        for i, (drawn, by_guide) in enumerate(zip(token_B.tolist(), forced, strict=True)):
            if going[i]:
                self.ids[i].append(drawn if by_guide is None else by_guide)
                self.forced[i].append(by_guide is not None)
                self.masks[i].append(masks[i])
        self.q.append(q_BV)
        if self.seen:
            last_B1 = torch.tensor([[ids[-1] if ids else 0] for ids in self.ids], device=token_B.device)
            there_B1 = torch.tensor([[bool(ids)] for ids in self.ids], device=token_B.device)
            self.seen.append(self.seen[-1].scatter(1, last_B1, there_B1 | self.seen[-1].gather(1, last_B1)))

    def masked(self, logits_BTV: Tensor) -> Tensor:
        """-inf where a row may not go, at the places that the draft has written."""
        if self.engine.guided is None:
            return logits_BTV
        logits_BTV = logits_BTV.clone()
        for j in range(logits_BTV.shape[1] - 1):
            masks = [row[j] if j < len(row) else None for row in self.masks]
            logits_BTV[:, j] = only(logits_BTV[:, j], masks)
        return logits_BTV

    def judged(self, p_BKV: Tensor) -> list[int]:
        """How many of each row's tokens stay."""
        K = p_BKV.shape[1]
        if K == 0:
            return [0] * len(self.ids)
        ids_BK = self.padded_ids()
        uniform_BK = torch.stack([self.engine.uniform(ACCEPT, j) for j in range(K)], dim=1)
        stays = judge(p_BKV, torch.stack(self.q[:K], dim=1), ids_BK, uniform_BK).tolist()
        found = []
        for i, (ids, forced) in enumerate(zip(self.ids, self.forced, strict=True)):
            n = next((j for j in range(len(ids)) if not (forced[j] or stays[i][j])), len(ids))
            accepted = n - sum(forced[:n])
            judged = accepted + (n < len(ids))
            before = self.engine.records[i]
            self.engine.records[i] = (before[0] + judged, before[1] + accepted)
            self.engine.draft.judged += judged
            self.engine.draft.accepted += accepted
            found.append(n)
        return found

    def padded_ids(self) -> Tensor:
        """(B, K)"""
        K = max(map(len, self.ids))
        return torch.tensor([[*ids, *[0] * (K - len(ids))] for ids in self.ids], device=self.engine.device)

    def q_of(self, places: list[int]) -> Tensor:
        """(B, V) q at a place of each row; 0 behind what the draft has written."""
        V = self.engine.model.n_ids or self.engine.model.vocab_size
        nothing_V = torch.zeros(V, device=self.engine.device)
        rows = (self.q[at][i] if at < len(self.ids[i]) else nothing_V for i, at in enumerate(places))
        return torch.stack([row.to(nothing_V.dtype) for row in rows])

    def settle(self, written: list[int], going: list[bool]) -> None:
        """Unreads what does not stay. `written`: tokens that each row has got, the last of them unread.

        Rows then lack equally many tokens, 1 or 2: one that lacks fewer than others unreads one more.
        """
        if not self.reads:
            self.engine.lag += 1
            return
        known = [min(n - 1, max(0, len(ids) - 1)) for n, ids in zip(written, self.ids, strict=True)]
        lags = [n - k for n, k in zip(written, known, strict=True)]
        most = max((lag for lag, goes in zip(lags, going, strict=True) if goes), default=1)
        kept = [self.lag + k - (most - lag) if goes else 0 for k, lag, goes in zip(known, lags, going, strict=True)]
        self.reader.settle(kept)
        self.engine.lag = most
