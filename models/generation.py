"""Text from a model: `generate` continues many prompts at once, `stream` yields one continuation token by token.

1. Prefill: all prompts are read at once, padded on the left; `n` continuations of a prompt share its reading.
2. Decode: one token per row and step, with the keys and values of the earlier ones from a cache (models/windows.py);
   with a draft (models/speculative.py) several per row and step.
3. A row that has stopped is dropped once half of the batch has.
4. Guides (models/guides.py) may write a row's next tokens themselves, or say which ones it may take.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from errors import RequestError
from models.base import LanguageModel
from models.engine import Engine, Stop, Token
from models.guides import MakeGuide
from models.layers.attention import any_length
from models.sampling import PLAIN, Sampling
from models.speculative import Draft, Speculative
from progress import Tracker


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


@dataclass
class Memory:
    """What a model, and its draft, have read and written of a conversation."""

    engine: Engine | None = None


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


@contextmanager
def writing(model: torch.nn.Module) -> Iterator[None]:
    """`evaluating`, for lengths that grow with each token: what was compiled for training runs uncompiled, since each
    layer, length and number of rows would be compiled anew."""
    compiled = any(module._compiled_call_impl is not None for module in model.modules())
    with evaluating(model), any_length(), torch.compiler.set_stance("force_eager") if compiled else nullcontext():
        yield


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
    draft: Draft | None = None,
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
        draft: a smaller model that writes ahead; see models/speculative.py. The draws are others, their distribution is
            the same.

    Raises:
        RequestError: a prompt is empty or longer than the model's context; a draft that cannot serve.
    """
    check_prompts(model, prompts, max_new_tokens)
    numbers = range(len(prompts)) if numbers is None else numbers
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # little padding
    how = {"sampling": sampling, "seed": seed, "use_cache": use_cache, "guide": guide}
    at_once = max(1, batch_size // n)
    found: dict[int, list[Token]] = {}
    stopped: set[int] = set()
    tracker, done = Tracker("writing", len(prompts) * n * max_new_tokens, unit="tokens at most"), 0
    with writing(model):
        for start in range(0, len(order), at_once):
            chosen = order[start : start + at_once]
            rows = [numbers[i] * n + j for i in chosen for j in range(n)]
            found |= {row: [] for row in rows}
            given = [list(prompts[i]) for i in chosen]
            engine = _engine(model, given, rows, how, draft)
            for token in engine.run(max_new_tokens, n, frozenset(stop_ids), stop):
                found[token.row].append(token)
                done += 1
                tracker.at(done)
            done = (start + len(chosen)) * n * max_new_tokens  # those that ended early have written all
            stopped |= engine.stopped
    tracker.close()
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
    draft: Draft | None = None,
    memory: Memory | None = None,
) -> Iterator[Token]:
    """The tokens that `generate` gives for this prompt, one by one; between them the model is in the mode it was in.

    `memory`: what was read for it before is not read again.
    """
    check_prompts(model, [prompt], max_new_tokens)
    how = {"sampling": sampling, "seed": seed, "use_cache": use_cache, "guide": guide}
    engine = _engine(model, [list(prompt)], [0], how, draft)
    if memory is not None:
        engine.follow(memory.engine)
        memory.engine = engine
    tokens = engine.run(max_new_tokens, 1, frozenset(stop_ids), stop)
    while True:
        with writing(model):
            token = next(tokens, None)
        if token is None:
            return
        yield token


def _engine(
    model: LanguageModel, prompts: list[list[int]], rows: list[int], how: dict[str, Any], draft: Draft | None
) -> Engine:
    return Engine(model, prompts, rows, **how) if draft is None else Speculative(model, prompts, rows, draft, **how)


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
