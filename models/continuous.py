"""Continuous batching: requests join the rows that are being continued, and leave, between any two tokens (Orca, OSDI
2022, section 3.1).

1. `join` reads a prompt alone, but for what one of the latest began with as well (models/remembered.py), and puts its
   keys and values beside those of the others, newest token under newest token.
2. `step` gives each row its next token, then reads all of these at once. A row that has ended makes room.

So a request gets the tokens that `generate` gives for it, whoever comes and goes beside it.

Shapes: B rows, T tokens, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from errors import RunError
from models.base import LanguageModel
from models.engine import Engine, Stop
from models.generation import check_prompts
from models.guides import Guided, MakeGuide
from models.layers.packing import PackedLinears
from models.remembered import Remembered
from models.sampling import PLAIN, Sampling, choose, distribution, penalise, uniform
from models.windows import Windows

SLOTS = 64  # by which a cache grows at least
LAID_OUT_FOR = 8  # rows that packed weights are laid out for; more and fewer are as fast


@dataclass(eq=False)
class Request:
    """`n` continuations of a prompt; see `generate`. `top`: so many of the likeliest tokens are told beside each.

    A row that its guide leaves nothing to write gets one of `stop_ids`. `first`: the rows are drawn as those from this
    number on of a request with larger `n`.
    """

    prompt: list[int]
    max_new_tokens: int
    sampling: Sampling = PLAIN
    n: int = 1
    seed: int = 0
    stop_ids: frozenset[int] = frozenset()
    stop: Stop | None = None
    top: int = 0
    guide: MakeGuide | None = None
    first: int = 0


class Written(NamedTuple):
    """The next token of a request's continuation `row`. `ended`: "stop" by itself, "length" where no more was asked."""

    request: Request
    row: int
    id: int
    logprob: float
    top: list[tuple[int, float]]  # (id, log-probability), the likeliest first, of what could be drawn
    ended: str | None


@dataclass
class _Row:
    request: Request
    number: int
    guided: Guided | None
    new: list[int] = field(default_factory=list)


class Continuous:
    """Requests of one model, continued together.

    The rows of an encoder-decoder, whose sources differ in length, stay in batches of their own; each takes its turn.
    """

    def __init__(self, model: LanguageModel):
        self.model = model
        self.packings: dict[bool, PackedLinears] = {}
        self.batches: list[_Batch] = []
        self.remembered = Remembered()

    @property
    def rows(self) -> int:
        return sum(len(batch.live) for batch in self.batches)

    def join(self, request: Request) -> None:
        """Reads the prompt. Raises RequestError where there is nothing to read, or more than the model can."""
        check_prompts(self.model, [request.prompt], request.max_new_tokens)
        batch = _Batch(self.model, request, self.packings, self.remembered.like(request.prompt))
        self.remembered.add(batch)
        if self.batches and not self.model.encodes_source:
            self.batches[0].take(batch)
        else:
            self.batches.append(batch)

    def leave(self, request: Request) -> None:
        """Nobody waits for this request any more."""
        for batch in self.batches:
            batch.keep_rows([i for i, row in enumerate(batch.live) if row.request is not request])
        self.batches = [batch for batch in self.batches if batch.live]

    def step(self) -> Iterator[Written]:
        """The next token of every row; they can be passed on before those that follow are computed."""
        for batch in self.batches:
            yield from batch.step()
        self.batches = [batch for batch in self.batches if batch.live]


class _Batch(Engine):
    """Rows of equal right; `logits_BV` are those of the token that each is to get next."""

    @torch.no_grad()
    def __init__(
        self, model: LanguageModel, request: Request, packings: dict[bool, PackedLinears], before: Windows | None
    ):
        numbers = list(range(request.first, request.first + request.n))
        super().__init__(model, [list(request.prompt)], numbers, request.sampling, request.seed, use_cache=True)
        self.packings = packings
        self.most = self.front + model.seq_len + model.seq_len // 2  # slots; the half is for rows that do not slide yet
        make = request.guide
        self.live = [_Row(request, i, None if make is None else Guided(make, [request.prompt])) for i in numbers]
        self.before = before
        self.logits_BV = self.prefill(1, request.n)

    @torch.no_grad()
    def take(self, other: "_Batch") -> None:
        """The rows of `other` from here on among these."""
        if self.use_cache:
            self.cache.join(other.cache, keep=self.front)
        self.live, self.ids, self.used = self.live + other.live, self.ids + other.ids, self.used + other.used
        self.rows, self.source = self.rows + other.rows, self.source + other.source
        self.logits_BV = torch.cat([self.logits_BV, other.logits_BV])

    @torch.no_grad()
    def step(self) -> Iterator[Written]:
        logits_BV = self.penalised(self.logits_BV)
        token_B, logprob_B, top = self._chosen(logits_BV)
        going = []
        for i, (row, id) in enumerate(zip(self.live, token_B.tolist(), strict=True)):
            self.ids[i].append(id)
            row.new.append(id)
            ended = self._ended(row)
            if ended is None:
                going.append(i)
            place = row.number - row.request.first
            yield Written(row.request, place, id, float(logprob_B[i]), top.get(i, []), ended)
        self.keep_rows(going)
        if self.live:
            self.logits_BV = self.decode(token_B[going])

    @staticmethod
    def _ended(row: _Row) -> str | None:
        request = row.request
        if row.new[-1] in request.stop_ids or (request.stop is not None and request.stop(row.new)):
            return "stop"
        return "length" if len(row.new) >= request.max_new_tokens else None

    def _chosen(self, logits_BV: Tensor) -> tuple[Tensor, Tensor, dict[int, list[tuple[int, float]]]]:
        """The next id of each row, its log-probability, and the likeliest ids of the rows that ask for them."""
        token_B = torch.zeros(len(self.live), dtype=torch.long, device=self.device)
        logprob_B = torch.zeros(len(self.live), device=self.device)
        groups: dict[Sampling, list[int]] = {}
        for i, row in enumerate(self.live):
            groups.setdefault(row.request.sampling, []).append(i)
        forced = {
            i: id for i, row in enumerate(self.live) if (id := self._guide(row, logits_BV[i : i + 1])) is not None
        }
        for sampling, places in groups.items():
            drawn = [uniform(self.live[i].request.seed, self.live[i].number, len(self.live[i].new)) for i in places]
            token_B[places], logprob_B[places] = choose(
                logits_BV[places], sampling, torch.tensor(drawn, device=self.device)
            )
        for i, id in forced.items():
            token_B[i], logprob_B[i] = id, logits_BV[i].log_softmax(-1)[id]
        top = {i: _likeliest(logits_BV[i], row.request) for i, row in enumerate(self.live) if row.request.top}
        return token_B, logprob_B, top

    @staticmethod
    def _guide(row: _Row, logits_1V: Tensor) -> int | None:
        """Takes out of a row's logits what it may not write, in place; the id that it must write instead, if one."""
        if row.guided is None:
            return None
        (forced,) = row.guided.forced([row.new], [True])
        if forced is None:
            try:
                logits_1V.copy_(row.guided.masked(logits_1V, [row.new], [True]))
            except RunError:
                if not row.request.stop_ids:
                    raise
                return min(row.request.stop_ids)  # what its text leaves out
        return forced

    def penalised(self, logits_BV: Tensor) -> Tensor:
        logits_BV = logits_BV[:, : self.model.n_ids].float()
        for i, row in enumerate(self.live):
            if (penalty := row.request.sampling.repetition_penalty) != 1:
                seen_V = torch.zeros_like(logits_BV[i], dtype=torch.bool)
                seen_V[self.ids[i][self.source[i] if self.model.encodes_source else 0 :]] = True
                logits_BV[i] = penalise(logits_BV[i], seen_V, penalty)
        return logits_BV

    @torch.no_grad()
    def keep_rows(self, places: Sequence[int]) -> None:
        """Only these rows go on."""
        if len(places) == len(self.live):
            return
        self.live = [self.live[i] for i in places]
        if not self.live:
            return
        self.logits_BV = self.logits_BV[list(places)]
        self.keep(list(places))
        if self.use_cache and not self.model.encodes_source:
            unused = self.cache.length - self.front - max(self.used)
            if unused > max(self.used) + SLOTS:  # those that needed them are gone
                self.cache.forget(unused, keep=self.front)

    def decode(self, token_B: Tensor) -> Tensor:
        if self.use_cache:
            self._make_room()
            many = len(self.live) > 1
            if many not in self.packings:
                self.packings[many] = PackedLinears(self.model.decoding, rows=LAID_OUT_FOR if many else 1)
            self.packed = self.packings[many]
        return super().decode(token_B)

    def _make_room(self) -> None:
        """A slot for the next token, as long as the cache may grow; then the oldest are forgotten."""
        capacity, length = self.cache.capacity or 0, self.cache.length
        if length == capacity < self.most:
            self.cache.widen(min(self.most, length + max(SLOTS, length // 2)), keep=self.front)


def _likeliest(logits_V: Tensor, request: Request) -> list[tuple[int, float]]:
    logprobs_V = distribution(logits_V.unsqueeze(0), request.sampling)[0]
    values, ids = logprobs_V.topk(min(request.top, logprobs_V.numel()))
    pairs = zip(ids.tolist(), values.tolist(), strict=True)
    return [(id, value) for id, value in pairs if value > float("-inf")]


@torch.no_grad()
def prompt_logprobs(model: LanguageModel, prompt: Sequence[int], *, top: int) -> list[Written | None]:
    """What the model said of each token of a prompt, at temperature 1; None of the first, of which it says nothing.

    Raises:
        RequestError: the prompt is empty or longer than the context.
    """
    check_prompts(model, [prompt], 1)
    request = Request(list(prompt), 1, top=top)
    ids_1T = torch.tensor([request.prompt], device=model.head.weight.device)
    hidden_TC = model(ids_1T).hidden_BTC[0, -len(prompt) :]
    found: list[Written | None] = [None]
    for start in range(0, len(prompt) - 1, 128):  # the logits of a long prompt would fill the memory
        logits_NV = model.logits_of(hidden_TC[start : min(start + 128, len(prompt) - 1)])[:, : model.n_ids].float()
        logprobs_NV = logits_NV.log_softmax(-1)
        values, ids = logprobs_NV.topk(max(1, min(top, logprobs_NV.shape[-1])))
        for i, (row, told) in enumerate(zip(ids.tolist(), values.tolist(), strict=True)):
            id = request.prompt[start + i + 1]
            likeliest = list(zip(row, told, strict=True)) if top else []
            found.append(Written(request, 0, id, float(logprobs_NV[i, id]), likeliest, None))
    return found
