"""Beam search: the likeliest continuations that can be found, each with the score that transformers gives it.

Of each prompt the `beams` likeliest unfinished texts are kept, and go on together. A text that ends is scored by its
log-probability divided by (its tokens)^length_penalty, the end included; it counts if at its end it was among the
`beams` likeliest candidates. A prompt is done when it has as many finished texts as beams, and the best unfinished one
would not, as long as it is now, score higher than the worst of them; or when all tokens are used up: then what is not
finished is scored as it is. These are the rules of transformers' generate (early_stopping=False).

Shapes: P prompts, W beams of each, B = P * W rows, V vocabulary, K candidates of a prompt.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from errors import RequestError
from models.base import LanguageModel
from models.engine import Engine, Stop
from models.generation import Completion, check_prompts, generate, writing
from models.guides import MakeGuide
from models.sampling import GREEDY, Sampling

Candidate = tuple[
    float, int, int, float
]  # log-probability of a text; which beam goes on, with which token; that token's


class _Search:
    """One prompt's: log-probabilities, token by token, of the unfinished texts; and the finished ones, best first.

    `ends(ids)`: whether a text ends with its newest id.
    """

    def __init__(self, beams: int, length_penalty: float, ends: Stop):
        self.beams, self.length_penalty, self.ends = beams, length_penalty, ends
        self.tokens: list[list[float]] = [[]] * beams
        self.finished: list[Completion] = []

    def advance(self, ranked: Sequence[Candidate], texts: Sequence[list[int]], *, last: bool) -> list[Candidate]:
        """Which candidates go on, as many as beams; none where the search is over. `texts`: new ids of each beam."""
        kept: list[Candidate] = []
        for rank, (total, beam, token, logprob) in enumerate(ranked):
            ids = [*texts[beam], token]
            ended = self.ends(ids)
            if (ended or last) and rank < self.beams:
                score = total / len(ids) ** self.length_penalty
                self.finished.append(Completion(ids, [*self.tokens[beam], logprob], ended, score=score))
            elif not ended:
                kept.append((total, beam, token, logprob))
        self.finished = sorted(self.finished, key=_score)[: self.beams]
        if last or not kept or self._is_done(kept[0][0] / (len(texts[0]) + 1) ** self.length_penalty):
            return []
        kept += [(-torch.inf, *kept[0][1:])] * (self.beams - len(kept))  # where `stop` ended many texts at once
        self.tokens = [[*self.tokens[beam], logprob] for _, beam, _, logprob in kept[: self.beams]]
        return kept[: self.beams]

    def _is_done(self, best: float) -> bool:
        """Whether no unfinished text, the best of which scores `best`, could come among the finished."""
        return len(self.finished) == self.beams and best <= -_score(self.finished[-1])


def _score(made: Completion) -> float:
    assert made.score is not None
    return -made.score


def beam_search(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    beams: int,
    length_penalty: float = 1.0,
    repetition_penalty: float = 1.0,
    n: int = 1,
    stop_ids: Sequence[int] = (),
    stop: Stop | None = None,
    batch_size: int = 32,
    use_cache: bool = True,
) -> list[list[Completion]]:
    """The `n` best completions of each prompt, best first, in the order of the prompts; `score` says how good each is.

    Args:
        prompts, max_new_tokens, stop_ids, stop, use_cache: as of `generate`. batch_size: beams at once.
        length_penalty: above 0 longer texts are favoured, below 0 shorter ones; at 0 the likeliest wins.

    Raises:
        RequestError: as of `generate`; more wanted than there are beams, or than there are tokens to choose from; a
            prompt and its answer are longer than the context of a decoder, which does not slide here.
    """
    ends = frozenset(stop_ids)
    k = (max(len(ends), 1) + 1) * beams  # candidates: as many as beams go on, even if all texts may end
    check_prompts(model, prompts, max_new_tokens)
    _check(model, prompts, max_new_tokens, beams, n, k)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # little padding
    at_once = max(1, batch_size // beams)
    found: dict[int, list[Completion]] = {}
    with writing(model), torch.no_grad():
        for start in range(0, len(order), at_once):
            chosen = order[start : start + at_once]
            how = Sampling(temperature=0.0, repetition_penalty=repetition_penalty)
            engine = Engine(
                model, [list(prompts[i]) for i in chosen], list(range(len(chosen) * beams)), how, 0, use_cache
            )
            searches = [
                _Search(beams, length_penalty, lambda ids: ids[-1] in ends or bool(stop and stop(ids))) for _ in chosen
            ]
            _run(engine, max_new_tokens, searches, k)
            found |= {i: search.finished[:n] for i, search in zip(chosen, searches, strict=True)}
    return [found[i] for i in range(len(prompts))]


def written(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    beams: int,
    length_penalty: float = 1.0,
    guide: MakeGuide | None = None,
    **settings: Any,
) -> list[list[Completion]]:
    """The one answer to each prompt that nothing is drawn for: greedy, or with more than one beam the best found.

    Raises:
        RequestError: a guide with beams, which it knows nothing of.
    """
    if beams > 1:
        check_beams(beams, length_penalty, against=None if guide is None else "tools write in greedy or drawn answers")
        return beam_search(model, prompts, beams=beams, length_penalty=length_penalty, **settings)
    return generate(model, prompts, sampling=GREEDY, guide=guide, **settings)


def check_beams(beams: int, length_penalty: float, *, against: str | None) -> None:
    """Raises RequestError where a penalty has no beams; or beams are given and `against` says why they cannot be."""
    if beams == 1 and length_penalty != 1:
        raise RequestError(
            f"length_penalty={length_penalty} is for beams: without them no text is scored. Type beams=4."
        )
    if beams > 1 and against is not None:
        raise RequestError(f"beams={beams}: {against}.\nType beams=1.")


def _check(
    model: LanguageModel, prompts: Sequence[Sequence[int]], max_new_tokens: int, beams: int, n: int, candidates: int
) -> None:
    if not 1 <= n <= beams:
        raise RequestError(f"n={n} of beams={beams}: there are as many texts as beams. Type beams={n} or more.")
    if candidates > (ids := model.n_ids or model.vocab_size):
        raise RequestError(f"beams={beams} with a vocabulary of {ids} tokens: there are too few to choose from.")
    longest = max(map(len, prompts), default=0) + max_new_tokens
    if not model.encodes_source and longest > model.seq_len + 1:  # the last token is not read
        raise RequestError(
            f"beams={beams}: a prompt and {max_new_tokens} new tokens are {longest} tokens, the model's context has "
            f"{model.seq_len}; with beams it does not slide.\nType fewer max_new_tokens, or beams=1."
        )


def _run(engine: Engine, max_new_tokens: int, searches: list[_Search], k: int) -> None:
    """Runs the searches, one a prompt of the engine, to their end."""
    W = searches[0].beams
    logits_BV = engine.prefill(max_new_tokens, W)
    starts = [len(prompt) for prompt in engine.prompts]
    alive = list(range(len(searches)))  # prompts, whose beams are the rows of the engine, side by side
    total_PW = torch.full((len(alive), W), -torch.inf, device=engine.device)
    total_PW[:, 0] = 0  # at first all beams are the same
    for step in range(1, max_new_tokens + 1):
        logprobs_BV = engine.penalised(logits_BV.float().log_softmax(-1))
        chosen: dict[int, list[Candidate]] = {}  # by the place of the prompt
        for at, ranked in enumerate(_candidates(total_PW, logprobs_BV, k)):
            texts = [ids[starts[alive[at]] :] for ids in engine.ids[at * W : (at + 1) * W]]
            if kept := searches[alive[at]].advance(ranked, texts, last=step == max_new_tokens):
                chosen[at] = kept
        if not chosen:
            return
        rows = [at * W + beam for at, kept in chosen.items() for _, beam, _, _ in kept]
        engine.keep(rows, within_prompts=len(chosen) == len(alive))
        tokens = [token for kept in chosen.values() for _, _, token, _ in kept]
        for ids, token in zip(engine.ids, tokens, strict=True):
            ids.append(token)
        alive = [alive[at] for at in chosen]
        total_PW = torch.tensor([[total for total, *_ in kept] for kept in chosen.values()], device=engine.device)
        logits_BV = engine.decode(torch.tensor(tokens, device=engine.device))


def _candidates(total_PW: Tensor, logprobs_BV: Tensor, k: int) -> list[list[Candidate]]:
    """The k likeliest of each prompt, in order."""
    P, W = total_PW.shape
    V = logprobs_BV.shape[1]
    every_PC = (total_PW.unsqueeze(2) + logprobs_BV.view(P, W, V)).view(P, W * V)
    best_PK, at_PK = every_PC.topk(min(k, V))
    token_PK = logprobs_BV.reshape(P, W * V).gather(1, at_PK)
    columns = best_PK.tolist(), (at_PK // V).tolist(), (at_PK % V).tolist(), token_PK.tolist()
    found = ([c for c in zip(*of_prompt, strict=True) if c[0] > -torch.inf] for of_prompt in zip(*columns, strict=True))
    return list(found)
