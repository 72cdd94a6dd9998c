"""Rows that are continued together, token by token: the loop of `generate` and `stream` (models/generation.py).

Shapes: B rows, V vocabulary.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from models.base import LanguageModel
from models.guides import Guided, MakeGuide
from models.sampling import Sampling, choose, penalise, uniform
from models.windows import Windows

Stop = Callable[[list[int]], bool]


class Token(NamedTuple):
    """One new token of row `row`: prompt `row // n`, continuation `row % n`; `forced`: a guide wrote it."""

    row: int
    id: int
    logprob: float
    forced: bool = False


class Engine(Windows):
    """`rows`: their numbers, for the draws and for the caller."""

    def __init__(
        self,
        model: LanguageModel,
        prompts: list[list[int]],
        rows: list[int],
        sampling: Sampling,
        seed: int,
        use_cache: bool,
        guide: MakeGuide | None = None,
        *,
        ahead: int = 0,
    ):
        super().__init__(model, prompts, use_cache=use_cache, ahead=ahead)
        self.guide = guide
        self.guided: Guided | None = None
        self.rows, self.sampling, self.seed = rows, sampling, seed
        self.stopped: set[int] = set()
        self.seen_BV: Tensor | None = None

    @torch.no_grad()
    def run(self, max_new_tokens: int, n: int, stop_ids: frozenset[int], stop: Stop | None) -> Iterator[Token]:
        logits_BV = self.prefill(max_new_tokens, n)
        starts = [len(ids) for ids in self.ids]
        for step in range(max_new_tokens):
            uniform_B = torch.tensor([uniform(self.seed, row, step) for row in self.rows]).to(self.device)
            token_B, logprob_B, forced = self._choose(self.penalised(logits_BV), uniform_B, starts)
            alive = []
            for i, (id, logprob) in enumerate(zip(token_B.tolist(), logprob_B.tolist(), strict=True)):
                self.ids[i].append(id)
                if self.rows[i] in self.stopped:
                    continue
                yield Token(self.rows[i], id, logprob, forced[i])
                if id in stop_ids or (stop is not None and stop(self.ids[i][starts[i] :])):
                    self.stopped.add(self.rows[i])
                else:
                    alive.append(i)
            if not alive or step == max_new_tokens - 1:
                return
            if len(alive) <= len(self.rows) // 2:
                self.keep(alive)
                starts, token_B = [starts[i] for i in alive], token_B[alive]
            logits_BV = self.decode(token_B)

    def follow(self, earlier: "Engine | None") -> None:
        """What an earlier text of the same model has in common with the prompt will not be read again."""
        self.before = earlier

    def prefill(self, max_new_tokens: int, n: int) -> Tensor:
        logits_BV = super().prefill(max_new_tokens, n)
        if self.guide is not None:
            self.guided = Guided(self.guide, [list(ids) for ids in self.ids])
        return logits_BV

    def _choose(self, logits_BV: Tensor, uniform_B: Tensor, starts: list[int]) -> tuple[Tensor, Tensor, list[bool]]:
        """The next id of each row, its log-probability, and whether a guide wrote it."""
        if self.guided is None:
            return *choose(logits_BV, self.sampling, uniform_B), [False] * len(self.rows)
        new = [ids[start:] for ids, start in zip(self.ids, starts, strict=True)]
        alive = [row not in self.stopped for row in self.rows]
        forced = self.guided.forced(new, alive)
        asked = [id is None and lives for id, lives in zip(forced, alive, strict=True)]
        token_B, logprob_B = choose(self.guided.masked(logits_BV, new, asked), self.sampling, uniform_B)
        if places := [i for i, id in enumerate(forced) if id is not None]:
            ids_F = torch.tensor([id for id in forced if id is not None], device=self.device)
            own_FV = (logits_BV[places].float() / (self.sampling.temperature or 1)).log_softmax(-1)
            token_B[places] = ids_F
            logprob_B[places] = own_FV.gather(1, ids_F.unsqueeze(1)).squeeze(1)
        return token_B, logprob_B, [id is not None for id in forced]

    def keep(self, rows: list[int], *, within_prompts: bool = False) -> None:
        super().keep(rows, within_prompts=within_prompts)
        self.rows = [self.rows[i] for i in rows]
        if self.guided is not None:
            self.guided.keep(rows)
        if self.seen_BV is not None:
            self.seen_BV = self.seen_BV[torch.tensor(rows, device=self.device)]

    def penalised(self, logits_BV: Tensor) -> Tensor:
        """Less of what occurred already: in the text, or, where an encoder reads what is asked, in the answer."""
        if self.sampling.repetition_penalty == 1:
            return logits_BV
        if self.seen_BV is None:
            self.seen_BV = torch.zeros_like(logits_BV, dtype=torch.bool)
            firsts = self.source if self.model.encodes_source else [0] * len(self.ids)
            for i, (ids, first) in enumerate(zip(self.ids, firsts, strict=True)):
                self.seen_BV[i, ids[first:]] = True
        newest = torch.tensor([[ids[-1]] for ids in self.ids], device=self.device)
        self.seen_BV.scatter_(1, newest, True)
        return penalise(logits_BV, self.seen_BV, self.sampling.repetition_penalty)
