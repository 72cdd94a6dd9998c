"""Text from a model: `generate` continues many prompts at once, `stream` yields one continuation token by token.

1. Prefill: all prompts are read at once, padded on the left; `n` continuations of a prompt share its reading.
2. Decode: one token per row and step, with the keys and values of the earlier ones from a cache.
3. A row that has stopped is dropped once half of the batch has.
4. Guides (models/guides.py) may write a row's next tokens themselves, or say which ones it may take.

Past the context the window slides: of a full window the older half is forgotten and the rest read again, row by row, so
that each row gets what it would get alone (N43).

Shapes: B rows, T tokens, S tokens in the cache (reserved sinks not counted), V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from errors import RequestError
from models.base import LanguageModel
from models.guides import Guided, MakeGuide
from models.layers.cache import KVCache
from models.layers.packing import WORTHWHILE, PackedLinears
from models.sampling import PLAIN, Sampling, choose, penalise, uniform

Stop = Callable[[list[int]], bool]


class Token(NamedTuple):
    """One new token of row `row`: prompt `row // n`, continuation `row % n`; `forced`: a guide wrote it."""

    row: int
    id: int
    logprob: float
    forced: bool = False


class Completion(NamedTuple):
    """New ids (a stop id included), the log-probability of each, whether it ended by itself, and of beams the score.

    `forced`: places in `ids` of what a guide wrote. The log-probability there is the model's own; elsewhere it is that
    under the distribution that was drawn from, which a guide may have narrowed.
    """

    ids: list[int]
    logprobs: list[float]
    stopped: bool
    forced: Sequence[int] = ()
    score: float | None = None


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode inside, and afterwards each submodule in the mode it had before."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def generate(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    sampling: Sampling = PLAIN,
    n: int = 1,
    seed: int = 0,
    stop_ids: Sequence[int] = (),
    stop: Stop | None = None,
    batch_size: int = 32,
    use_cache: bool = True,
    numbers: Sequence[int] | None = None,
    guide: MakeGuide | None = None,
) -> list[list[Completion]]:
    """`n` completions of each prompt, in the order of the prompts.

    Args:
        prompts: token ids, of any lengths up to the model's context.
        stop_ids: ids that end a row. stop: is given a row's new ids after each token and says whether to end it.
        seed: with the same seed a row gets the same tokens, whatever batch it is in.
        batch_size: rows at once.
        numbers: of the prompts, which the draws depend on; default 0, 1, ... Ranks that share prompts give each prompt
            its number among all, and get what one rank would.
        guide: makes the guide of a row from its prompt.

    Raises:
        RequestError: a prompt is empty or longer than the model's context.
    """
    check_prompts(model, prompts, max_new_tokens)
    numbers = range(len(prompts)) if numbers is None else numbers
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # little padding
    at_once = max(1, batch_size // n)
    found: dict[int, list[Token]] = {}
    stopped: set[int] = set()
    with evaluating(model):
        for start in range(0, len(order), at_once):
            chosen = order[start : start + at_once]
            rows = [numbers[i] * n + j for i in chosen for j in range(n)]
            found |= {row: [] for row in rows}
            engine = Engine(model, [list(prompts[i]) for i in chosen], rows, sampling, seed, use_cache, guide)
            for token in engine.run(max_new_tokens, n, frozenset(stop_ids), stop):
                found[token.row].append(token)
            stopped |= engine.stopped
    rows_of = ([number * n + j for j in range(n)] for number in numbers)
    return [[completed(found[row], row in stopped) for row in rows] for rows in rows_of]


def completed(tokens: Sequence[Token], stopped: bool) -> Completion:
    """The tokens of one row as a whole."""
    forced = [i for i, token in enumerate(tokens) if token.forced]
    return Completion([token.id for token in tokens], [token.logprob for token in tokens], stopped, forced)


def stream(
    model: LanguageModel,
    prompt: Sequence[int],
    *,
    max_new_tokens: int,
    sampling: Sampling = PLAIN,
    seed: int = 0,
    stop_ids: Sequence[int] = (),
    stop: Stop | None = None,
    use_cache: bool = True,
    guide: MakeGuide | None = None,
) -> Iterator[Token]:
    """The tokens that `generate` gives for this prompt, one by one; between them the model is in the mode it was in."""
    check_prompts(model, [prompt], max_new_tokens)
    engine = Engine(model, [list(prompt)], [0], sampling, seed, use_cache, guide)
    tokens = engine.run(max_new_tokens, 1, frozenset(stop_ids), stop)
    while True:
        with evaluating(model):
            token = next(tokens, None)
        if token is None:
            return
        yield token


def check_prompts(model: LanguageModel, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> None:
    """Raises RequestError where there is nothing to read, more than the model can, or nothing to write."""
    seq_len = model.seq_len
    if model.encodes_source and max_new_tokens > seq_len:
        raise RequestError(
            f"max_new_tokens={max_new_tokens} is more than the decoder's context of {seq_len}, which does not slide.\n"
            f"Type max_new_tokens={seq_len}, or a longer model.seq_len."
        )
    if max_new_tokens < 1:
        raise RequestError(f"max_new_tokens={max_new_tokens}: expected a positive number of tokens.")
    for prompt in prompts:
        if len(prompt) == 0:
            raise RequestError("an empty prompt: give at least one token (the end-of-text token starts a new text).")
        if len(prompt) > seq_len:
            raise RequestError(
                f"a prompt of {len(prompt)} tokens is longer than the model's context of {seq_len}.\n"
                f"Shorten it, or give its last {seq_len} tokens."
            )


class Engine:
    """Rows that are continued together. `rows`: their numbers, for the draws and for the caller."""

    def __init__(
        self,
        model: LanguageModel,
        prompts: list[list[int]],
        rows: list[int],
        sampling: Sampling,
        seed: int,
        use_cache: bool,
        guide: MakeGuide | None = None,
    ):
        self.guide = guide
        self.guided: Guided | None = None
        self.model, self.prompts, self.rows, self.sampling, self.seed = model, prompts, rows, sampling, seed
        self.use_cache = use_cache and model.has_cache
        self.device = model.head.weight.device
        self.source = [len(prompt) - 1 for prompt in prompts]  # an encoder's share: all but what starts the answer
        self.front = model.n_sink  # slots that hold no token of the text
        self.stopped: set[int] = set()
        self.ids: list[list[int]] = []  # all tokens of each row
        self.used: list[int] = []  # how many of them, the latest, are in its window
        self.cache = KVCache(model.n_layer)
        self.packed: PackedLinears | None = None
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

    def prefill(self, max_new_tokens: int, n: int) -> Tensor:
        """Reads the prompts; logits of the token after each, (B, V), B = prompts * n."""
        self.ids, self.used = self.prompts, [len(prompt) for prompt in self.prompts]
        longest, context = max(self.used), self.model.seq_len
        # One row slides when its window is full. Several slide at different steps; the slack saves moving all of them.
        slack = context // 2 if len(self.prompts) * n > 1 else 0
        self.cache = KVCache(self.model.n_layer, self.front + min(longest + max_new_tokens, context + slack))
        logits_BV = self._read(self.ids, self.used, self.cache)
        if self.model.encodes_source and self.use_cache:
            self.used = [1] * len(self.used)  # sources are read: from here on a row is its answer
        self.cache.repeat(n)
        self.ids = [list(ids) for ids in self.ids for _ in range(n)]
        self.used = [used for used in self.used for _ in range(n)]
        self.source = [length for length in self.source for _ in range(n)]
        if self.guide is not None:
            self.guided = Guided(self.guide, [list(ids) for ids in self.ids])
        if self.use_cache and max_new_tokens >= WORTHWHILE:
            self.packed = PackedLinears(self.model.decoding, rows=len(self.ids))
        return logits_BV.repeat_interleave(n, dim=0)

    def _read(self, ids: list[list[int]], used: list[int], cache: KVCache) -> Tensor:
        """A forward pass over the windows of some rows, padded on the left."""
        T = max(used)
        windows = [[0] * (T - u) + row[len(row) - u :] for row, u in zip(ids, used, strict=True)]
        ids_BT = torch.tensor(windows, device=self.device)
        padding_BT = None if min(used) == T else self._padding(used, T)
        source_B = torch.tensor(self.source, device=self.device) if self.model.encodes_source else None
        known = cache if self.use_cache else None
        out = self.model(ids_BT, padding_BT=padding_BT, cache=known, source_B=source_B, logits="last")
        return out.logits[:, -1, : self.model.n_ids]

    def decode(self, token_B: Tensor) -> Tensor:
        """Logits of the token after `token_B`, the newest of each row."""
        half = max(1, self.model.seq_len // 2)
        for i, used in enumerate(self.used):
            if used == self.model.seq_len and not self.model.encodes_source:
                self._slide(i, half - 1)
        self.used = [used + 1 for used in self.used]
        if not self.use_cache:
            return self._read(self.ids, self.used, self.cache)
        if self.cache.length == self.cache.capacity:
            self.cache.forget(self.cache.length - self.front + 1 - max(self.used), keep=self.front)
        S = self.cache.length - self.front + 1
        padding_BS = None if min(self.used) == S else self._padding(self.used, S)
        with nullcontext() if self.packed is None else self.packed.active():
            out = self.model(token_B.unsqueeze(1), padding_BT=padding_BS, cache=self.cache, logits="last")
        return out.logits[:, -1, : self.model.n_ids]

    def _slide(self, row: int, left: int) -> None:
        """The window of one row becomes the `left` tokens before its newest, read again from position 0."""
        self.used[row] = left
        if left and self.use_cache:
            fresh = KVCache(self.model.n_layer, self.front + left)
            self._read([self.ids[row][:-1]], [left], fresh)
            self.cache.put_row(row, fresh, keep=self.front)

    def keep(self, rows: list[int], *, within_prompts: bool = False) -> None:
        """Goes on with these rows, in this order; one may be named twice. `within_prompts`: each in the place of a row
        of the same prompt."""
        self.ids, self.used = [list(self.ids[i]) for i in rows], [self.used[i] for i in rows]
        self.rows, self.source = [self.rows[i] for i in rows], [self.source[i] for i in rows]
        if self.guided is not None:
            self.guided.keep(rows)
        index = torch.tensor(rows, device=self.device)
        self.cache.select(index, carried=not within_prompts)
        if self.seen_BV is not None:
            self.seen_BV = self.seen_BV[index]

    def _padding(self, used: list[int], S: int) -> Tensor:
        """(B, S), True at the last `used` slots of each row."""
        return torch.arange(S, device=self.device) >= S - torch.tensor(used, device=self.device).unsqueeze(1)

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
