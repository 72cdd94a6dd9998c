"""Any of our models in EleutherAI's harness (lm_eval), through its own model interface; `pip install lm_eval` first.

The harness brings tasks, prompts and scores; the model brings log-probabilities and text.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lm_eval import simple_evaluate
from lm_eval.api.model import TemplateLM
from lm_eval.tasks import TaskManager

from errors import RequestError
from evaluation.answering import cut
from evaluation.likelihood import Pair, continuation_scores, rolling_pairs
from models.base import LanguageModel
from models.generation import generate
from models.sampling import Sampling
from tokenization.base import Tokenizer

MAX_NEW_TOKENS = 256  # where a task does not say, as in the harness's own models
LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # the first that is there counts
FILTERS = {"top_k": int, "top_p": float, "min_p": float, "repetition_penalty": float}


class Wanted(NamedTuple):
    """How a task wants its text: where it ends, how many tokens at most, how they are drawn."""

    until: list[str]
    most: int
    sampling: Sampling


def wanted(given: dict[str, Any]) -> Wanted:
    """A task's generation_kwargs, read as the harness's own models read them.

    Raises:
        RequestError: a setting that we do not know, or that means nothing.
    """
    given = {key: value for key, value in given.items() if value is not None}
    until = given.get("until", [])
    temperature = float(given.get("temperature", 0.0))
    drawn = bool(given.get("do_sample", temperature > 0))
    if drawn and temperature == 0:
        raise RequestError(
            "lm_eval: generation_kwargs say do_sample: true without a temperature above 0.\n"
            "Write temperature: 1.0 beside it, or leave do_sample out: then the likeliest token is taken."
        )
    known = ("until", "do_sample", "temperature", *LENGTHS, *FILTERS)
    for key, value in given.items():
        if key not in known and (key, value) != ("num_beams", 1):
            raise RequestError(
                f"lm_eval: generation_kwargs say {key}: {value!r:.80}, which is not known here, and may change the "
                f"answers.\nWrite a task of your own without it (evaluate.tasks_path); known are {', '.join(known)}."
            )
    filters: dict[str, Any] = {key: read(given[key]) for key, read in FILTERS.items() if key in given}
    if filters.get("top_k") == 0:  # all tokens, in transformers
        del filters["top_k"]
    most = next((int(given[key]) for key in LENGTHS if key in given), MAX_NEW_TOKENS)
    sampling = Sampling(temperature=temperature if drawn else 0.0, **filters)
    return Wanted([until] if isinstance(until, str) else list(until), most, sampling)


class LabLM(TemplateLM):
    """A model and its tokenizer, as the harness wants them. What does not fit the context loses its beginning.

    Args:
        seed: of drawn answers.
    """

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer, *, batch_size: int, seed: int = 0):
        super().__init__()
        self.model, self.text, self.batch_size, self.seed = model, tokenizer, batch_size, seed

    @property
    def eot_token_id(self) -> int:
        return self.text.eot

    @property
    def max_length(self) -> int:
        return self.model.seq_len

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        return self.text.encode(string).tolist()

    def _loglikelihood_tokens(self, requests: Sequence[Any], **_: Any) -> list[tuple[float, bool]]:
        pairs = [self._fitting(context, answer) for _, context, answer in requests]
        found = continuation_scores(self.model, pairs, batch_size=self.batch_size)
        return [(score, greedy) for score, greedy, _ in found]

    def _fitting(self, context: Sequence[int], answer: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """At most context + 1 tokens in all: the last one is predicted, not read."""
        kept = max(1, self.max_length + 1 - len(answer))
        return np.array(context[-kept:]), np.array(answer[: self.max_length])

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """log p of whole texts: windows side by side, each token predicted once, from what its window holds."""
        pairs: list[Pair] = []
        owners: list[int] = []
        for number, request in enumerate(requests):
            (text,) = request.args
            windows = rolling_pairs(self.text.encode(text), self.prefix_token_id, self.max_length)
            pairs += windows
            owners += [number] * len(windows)
        scores = [found.logprob for found in continuation_scores(self.model, pairs, batch_size=self.batch_size)]
        return np.bincount(owners, weights=scores, minlength=len(requests)).tolist()

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """One text each; a request that is there several times (`repeats`) is drawn as often."""
        asked = [(request.args[0], wanted(request.args[1])) for request in requests]
        return [self._answer(context, how, number) for number, (context, how) in enumerate(asked)]

    def _answer(self, context: str, how: Wanted, number: int) -> str:
        until, most = how.until, min(how.most, self.max_length - 1)
        ids = self.tok_encode(context)[-(self.max_length - most) :]

        def stop(made: list[int]) -> bool:
            text = self.text.decode(made, skip_specials=True)
            return any(end in text for end in until)

        ((completion,),) = generate(
            self.model,
            [ids],
            max_new_tokens=most,
            sampling=how.sampling,
            seed=self.seed,
            numbers=[number],
            stop_ids=[self.text.eot],
            stop=stop,
        )
        text = self.text.decode(completion.ids, skip_specials=True)
        return cut(text, until) if any(end in text for end in until) else text


def run_harness(
    model: LanguageModel,
    tokenizer: Tokenizer,
    *,
    tasks: Sequence[str],
    shots: int | None,
    limit: int | None,
    batch_size: int,
    seed: int,
    include_path: str | Path | None = None,
) -> dict[str, dict[str, Any]]:
    """{task: {metric: value}} as the harness reports them.

    Args:
        tasks: names the harness knows, or that `include_path` defines. shots: None: as many as each task says.
    """
    found = simple_evaluate(
        model=LabLM(model, tokenizer, batch_size=batch_size, seed=seed),
        tasks=list(tasks),
        num_fewshot=shots,
        limit=limit,
        bootstrap_iters=1000,
        random_seed=seed,
        numpy_random_seed=seed,
        torch_random_seed=seed,
        fewshot_random_seed=seed,
        task_manager=TaskManager(include_path=None if include_path is None else str(include_path)),
    )
    assert found is not None  # only ranks other than 0 get None
    return dict(found["results"])
