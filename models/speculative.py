"""Speculative decoding (Leviathan et al. 2023, 2211.17192): a draft writes some tokens ahead; the model reads them at
once, for little more than what one token costs. The text is distributed as the model's alone. One round of a row:

1. The draft draws x_1 .. x_k, x_j from its own q_j, by the same temperature, filters and guide.
2. The model reads the newest token and these together: its own p_1 .. p_k+1.
3. x_j stays with probability min(1, p_j(x_j) / q_j(x_j)). The first that does not is replaced by a draw from what p_j
   has above q_j (algorithm 1 there); if all stay, one from p_k+1 follows.

Greedy, p and q are all on one token: what stays are the tokens that the model would have taken.

A row's k depends on the row alone, and its draws on (seed, row, place): it gets the same text in any batch.

Shapes: B rows, K tokens ahead at most, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from errors import RequestError
from models.base import LanguageModel
from models.engine import Engine, Stop, Token
from models.guides import MakeGuide
from models.proposals import DRAW, Proposals
from models.sampling import Sampling, distribution, draw, penalise, uniform
from models.windows import Windows

MOST = 12  # tokens ahead
SHORTEST = 4  # context
READING = 0.1  # what one token more adds to a reading of the model, as a share
BEFORE = (4, 3)  # tokens that a row is taken to have judged, and accepted, before any was


@dataclass
class Draft:
    """A smaller model with the same ids, in evaluation mode, and what came of its tokens.

    Args:
        ahead: tokens that it writes at once; None: as many as pay, by the acceptance in each row and the models' sizes.
        lighter: bytes of one of its weights, as a share of one of the model's.
    """

    model: LanguageModel
    ahead: int | None = None
    lighter: float = 1.0
    judged: int = 0  # tokens that the model looked at; those behind a rejected one are not
    accepted: int = 0
    written: int = 0  # tokens of the texts, but the first of each, which comes of the prompt
    steps: int = 0  # readings of the model, by row

    @property
    def words(self) -> str:
        """ "0.84 of the draft's tokens accepted, 3.4 tokens a step"."""
        if not self.steps:
            return "no step was left for the draft"
        rate = f"{self.accepted / self.judged:.2f} of the draft's tokens accepted, " if self.judged else ""
        return f"{rate}{self.written / self.steps:.2f} tokens a step"


def rest(p_BV: Tensor, q_BV: Tensor) -> Tensor:
    """(B, V), not normalised: what is drawn from where a drafted id does not stay. p where q is 0."""
    above_BV = (p_BV.double() - q_BV.double()).clamp_min(0)
    return torch.where(above_BV.sum(1, keepdim=True) > 0, above_BV, p_BV.double())  # nothing above: q is p, but rounded


def _multiplied(model: LanguageModel) -> int:
    """Parameters that a new token is multiplied with."""
    return model.parameter_counts()["active"] - model.lookup_parameters()


def check_draft(model: LanguageModel, draft: LanguageModel) -> None:
    """Raises RequestError where the text could not be, or be known to be, the model's alone."""
    for what, reads in (("the model", model), ("the draft", draft)):
        if reads.encodes_source:
            raise RequestError(f"a draft writes ahead for decoders, and {what} is an encoder-decoder. Leave it out.")
        if not reads.has_cache:
            raise RequestError(f"{what} keeps no keys and values: a draft would save nothing. Leave it out.")
        if reads.seq_len < SHORTEST:
            raise RequestError(
                f"{what} has a context of {reads.seq_len} tokens, a draft needs {SHORTEST}. Leave it out."
            )
    if draft.vocab_size < (ids := model.n_ids or model.vocab_size):
        raise RequestError(f"the draft has {draft.vocab_size} ids, the model {ids}: it could not read what is written.")
    moe = getattr(model, "moe", None)
    if moe is not None and (moe.router == "expert_choice" or (moe.capacity_factor and not moe.eval_dropless)):
        raise RequestError(
            "the model's experts take so many of the tokens that are read together: its probabilities depend on how "
            "many a draft has written.\nLeave the draft out, or train with model.moe.router=softmax and "
            "model.moe.eval_dropless=true."
        )


def tempered(logits: Tensor, how: Sampling) -> Tensor:
    """(..., V) log-probabilities of the model itself, which neither guide nor filter narrows."""
    return (logits / (how.temperature or 1)).log_softmax(-1)


class Speculative(Engine):
    """`draft` is told what came of its tokens."""

    def __init__(
        self,
        model: LanguageModel,
        prompts: list[list[int]],
        rows: list[int],
        draft: Draft,
        *,
        sampling: Sampling,
        seed: int,
        use_cache: bool = True,
        guide: MakeGuide | None = None,
    ):
        if not use_cache:
            raise RequestError("use_cache=False: without keys and values a draft saves nothing. Leave it out.")
        check_draft(model, draft.model)
        context = draft.model.seq_len
        self.most = min(draft.ahead or MOST, model.seq_len // 2, context // 2)
        super().__init__(model, prompts, rows, sampling, seed, use_cache, guide, ahead=self.most)
        self.draft = draft
        self.reader = Windows(draft.model, [p[-context:] for p in prompts], use_cache=True, ahead=self.most + 1)
        self.lag = 1  # newest tokens of each row that the draft has not read
        self.cost = draft.lighter * _multiplied(draft.model) / _multiplied(model) + READING

    @torch.no_grad()
    def run(self, max_new_tokens: int, n: int, stop_ids: frozenset[int], stop: Stop | None) -> Iterator[Token]:
        logits_BV = self.prefill(max_new_tokens, n)
        self.reader.prefill(max_new_tokens, n)
        self.limit, self.stop_ids, self.stop = max_new_tokens, stop_ids, stop
        self.starts, self.records = [len(ids) for ids in self.ids], [BEFORE] * len(self.rows)
        first_B, logprob_B, forced = self._choose(self.penalised(logits_BV), self.uniform(DRAW), self.starts)
        for i, token in enumerate(zip(first_B.tolist(), logprob_B.tolist(), forced, strict=True)):
            yield self._write(i, *token)
        while alive := [i for i in range(len(self.rows)) if self.lives(i)]:
            if len(alive) <= len(self.rows) // 2:
                self.keep(alive)
            yield from self._round()

    def follow(self, earlier: Engine | None) -> None:
        super().follow(earlier)
        self.reader.before = earlier.reader if isinstance(earlier, Speculative) else None

    def keep(self, rows: list[int], *, within_prompts: bool = False) -> None:
        super().keep(rows, within_prompts=within_prompts)
        self.reader.keep(rows)
        self.starts, self.records = [self.starts[i] for i in rows], [self.records[i] for i in rows]

    def left(self, i: int) -> int:
        return self.limit - (len(self.ids[i]) - self.starts[i])

    def lives(self, i: int) -> bool:
        return self.rows[i] not in self.stopped and self.left(i) > 0

    def texts(self, drafted: Sequence[Sequence[int]]) -> list[list[int]]:
        """The new ids of each row, and what is drafted behind them."""
        return [[*ids[s:], *d] for ids, s, d in zip(self.ids, self.starts, drafted, strict=True)]

    def uniform(self, what: int, ahead: int | Sequence[int] = 0) -> Tensor:
        """(B,), of the place `ahead` of the next token of each row."""
        aheads = [ahead] * len(self.rows) if isinstance(ahead, int) else ahead
        places = (len(ids) - s + a for ids, s, a in zip(self.ids, self.starts, aheads, strict=True))
        drawn = [uniform(self.seed, row, place, what) for row, place in zip(self.rows, places, strict=True)]
        return torch.tensor(drawn, dtype=torch.float64).to(self.device)

    def _write(self, i: int, id: int, logprob: float, forced: bool) -> Token:
        self.ids[i].append(id)
        self.reader.ids[i].append(id)
        if self.seen_BV is not None:
            self.seen_BV[i, id] = True
        if id in self.stop_ids or (self.stop is not None and self.stop(self.ids[i][self.starts[i] :])):
            self.stopped.add(self.rows[i])
        return Token(self.rows[i], id, logprob, forced)

    def _round(self) -> list[Token]:
        """What is written of each row by one reading of the model."""
        alive = [self.lives(i) for i in range(len(self.rows))]
        self.slide()
        made = Proposals(self, alive)
        fed = [[ids[-1], *ahead] if lives else [] for ids, ahead, lives in zip(self.ids, made.ids, alive, strict=True)]
        own_BTV = self.logits_of(self.read_on(fed)).float()
        if made.seen:
            own_BTV = penalise(own_BTV, torch.stack(made.seen, 1), self.sampling.repetition_penalty)
        logits_BTV = made.masked(own_BTV)
        stays = made.judged(self.probs(logits_BTV[:, :-1]))
        tokens = self._accepted(made, stays, logits_BTV, own_BTV)
        going = [self.lives(i) for i in range(len(alive))]
        at = torch.arange(len(stays), device=self.device), torch.tensor(stays, device=self.device)
        if any(going):
            for i, token in enumerate(self._next(made, stays, going, logits_BTV[at], own_BTV[at])):
                if going[i]:
                    tokens[i].append(self._write(i, *token))
        written = [len(row) for row in tokens]
        self.draft.steps += sum(alive)
        self.draft.written += sum(written)
        self.settle([min(n, len(row)) for n, row in zip(written, fed, strict=True)])
        made.settle(written, going)
        return [token for row in tokens for token in row]

    def _accepted(self, made: Proposals, stays: list[int], logits_BTV: Tensor, own_BTV: Tensor) -> list[list[Token]]:
        """Writes the proposed tokens that stay, up to each row's end."""
        tokens: list[list[Token]] = [[] for _ in stays]
        if max(stays) == 0:
            return tokens
        ids_BK = made.padded_ids()
        drawn_BK = self._told(logits_BTV[:, :-1], ids_BK, distribution)
        own_BK = drawn_BK if self.guided is None else self._told(own_BTV[:, :-1], ids_BK, tempered)
        for i, n in enumerate(stays):
            for j, (id, forced) in enumerate(zip(made.ids[i][:n], made.forced[i][:n], strict=True)):
                if self.lives(i):
                    tokens[i].append(self._write(i, id, (own_BK if forced else drawn_BK)[i][j], forced))
        return tokens

    def _next(
        self, made: Proposals, stays: list[int], going: list[bool], logits_BV: Tensor, own_BV: Tensor
    ) -> list[tuple[int, float, bool]]:
        """The token behind those that stay, for the rows that go on."""
        forced: list[int | None] = [None] * len(stays)
        if self.guided is not None:
            free = [lives and n == len(ids) for lives, n, ids in zip(going, stays, made.ids, strict=True)]
            for i, n in enumerate(stays):
                if n < len(made.ids[i]):
                    self.guided.due[i] = []  # the draft was led where the row does not go
            texts = self.texts([[]] * len(stays))
            forced = self.guided.forced(texts, free)
            asked = [lives and id is None for lives, id in zip(free, forced, strict=True)]
            logits_BV = self.guided.masked(logits_BV, texts, asked)
        drawn_B = draw(rest(self.probs(logits_BV), made.q_of(stays)), self.uniform(DRAW))
        ids = [drawn if id is None else id for drawn, id in zip(drawn_B.tolist(), forced, strict=True)]
        ids_B = torch.tensor(ids, device=self.device)
        told = self._told(logits_BV, ids_B, distribution)
        own = told if self.guided is None else self._told(own_BV, ids_B, tempered)
        by_guide = [id is not None for id in forced]
        return [(id, own[i] if by_guide[i] else told[i], by_guide[i]) for i, id in enumerate(ids)]

    def _told(self, logits: Tensor, ids: Tensor, under: Callable[[Tensor, Sampling], Tensor]) -> Any:
        """The log-probability of each id, in lists."""
        return under(logits, self.sampling).gather(-1, ids.unsqueeze(-1)).squeeze(-1).tolist()

    def probs(self, logits: Tensor) -> Tensor:
        """(..., V) that a token is drawn from; greedy, all on one."""
        if self.sampling.temperature == 0:
            return F.one_hot(logits.argmax(-1), logits.shape[-1])
        return distribution(logits, self.sampling).exp()
