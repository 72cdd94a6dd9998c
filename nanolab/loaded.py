"""One run and its model, for Python. Built by the parts that the tasks are built from, so that both say the same."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from errors import RequestError
from launcher.lab import Lab
from runs.files import read_json, read_rows

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig
    from torch import Tensor

    from models.base import LanguageModel
    from tokenization.base import Tokenizer

LAB = Lab(Path(__file__).parents[1].absolute())


class Run:
    """A run folder. Nothing is read before it is asked for; the model is loaded once, onto the device of `hardware`."""

    def __init__(self, path: str | Path, *words: str):
        self.path, self._words = Path(path), words

    def __repr__(self) -> str:
        return f"nanolab.load({str(self.path)!r})"

    @cached_property
    def config(self) -> DictConfig:
        """The config that it was run with: run.config.optimizer.lr."""
        from launcher.config.inherit import read_run

        return read_run(self.path)[0]

    @property
    def summary(self) -> dict[str, Any]:
        """summary.json; {} for a run that still goes or was killed."""
        return read_json(self.path / "summary.json")

    @property
    def metrics(self) -> pd.DataFrame:
        """metrics.csv as it is now: a row for each logged step, a column for each metric, NaN where it has none."""
        import pandas as pd

        frame = pd.DataFrame(read_rows(self.path / "metrics.csv"), columns=None)
        return frame.astype({"step": int}).set_index("step") if len(frame) else frame

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Its own, with the specials it was trained with."""
        from tasks import parts

        return parts.saved_tokenizer(self._cfg)

    @cached_property
    def model(self) -> LanguageModel:
        """Its last weights, in evaluation mode.

        Raises:
            RequestError: it has no checkpoint, or no model that writes text.
        """
        from tasks import parts
        from tasks.hardware.reading import settle_reading
        from tasks.trainer import settle_torch

        settle_torch()
        model = parts.trained_model(self._cfg, self.tokenizer).eval()
        settle_reading(self._cfg, model)
        return model

    @overload
    def logits(self, texts: str) -> Tensor: ...  # type: ignore[overload-overlap]
    @overload
    def logits(self, texts: Sequence[str]) -> list[Tensor]: ...
    def logits(self, texts: str | Sequence[str]) -> Tensor | list[Tensor]:
        """(T, V) float32 for each text of T tokens; softmax of row t: how likely each token is after the t-th.

        Raises:
            RequestError: a text has no token, or more than the model's context.
        """
        if isinstance(texts, str):
            return self.logits([texts])[0]
        import torch

        from models.generation import evaluating

        found, device = [], next(self.model.parameters()).device
        for text in texts:
            ids = list(map(int, self.tokenizer.encode(text)))
            if not 0 < len(ids) <= (room := self.model.seq_len):
                raise RequestError(f"{text[:40]!r} has {len(ids)} tokens; from 1 to {room} can be read.")
            with evaluating(self.model), torch.no_grad():
                logits = self.model(torch.tensor([ids], device=device), logits="all").logits
            found.append(logits[0].float().cpu())
        return found

    def generate(
        self,
        prompt: str = "",
        *,
        n: int = 1,
        max_new_tokens: int = 200,
        temperature: float = 0.8,
        top_k: int | None = 50,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float = 1.0,
        stop: str | Sequence[str] = (),
        seed: int = 0,
    ) -> list[str]:
        """`n` continuations, without the prompt: those of task=generate, whose keys these are.

        Raises:
            RequestError: a number is out of range, or the prompt is longer than the model's context.
        """
        from models.sampling import Sampling
        from tasks.generate import continuations

        sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
        strings = [stop] if isinstance(stop, str) else list(stop)
        how: dict[str, Any] = {"n": n, "max_new_tokens": max_new_tokens, "sampling": sampling, "seed": seed}
        return continuations(self.model, self.tokenizer, prompt, self._cfg, strings=strings, **how)[0]

    def chat(
        self,
        messages: str | Sequence[dict[str, Any]],
        *,
        system: str = "",
        template: Literal["auto", "chat", "alpaca", "plain", "seq2seq"] = "auto",
        max_new_tokens: int = 200,
        temperature: float = 0.8,
        top_k: int | None = 50,
        top_p: float | None = None,
        seed: int = 0,
    ) -> str:
        """The answer to a question, or to a conversation [{"role": "user", "content": "..."}, ...]: task=chat's.

        Raises:
            RequestError: the model knows no turns, or the conversation is no one, or too long.
        """
        from models.sampling import Sampling
        from tasks.chat import answer_to, opened
        from tasks.parts import asking_style

        style = asking_style(self._cfg) if template == "auto" else template
        turns, tokenizer = opened(self.tokenizer, style)
        asked = [{"role": "user", "content": messages}] if isinstance(messages, str) else [dict(m) for m in messages]
        opening = [{"role": "system", "content": system}] if system else []
        sampling = Sampling(temperature, top_k, top_p)
        how: dict[str, Any] = {"max_new_tokens": max_new_tokens, "sampling": sampling, "seed": seed}
        return answer_to(self.model, tokenizer, turns, [*opening, *asked], **how)

    @cached_property
    def _cfg(self) -> DictConfig:
        from launcher.config.compose import compose

        return compose(["task=generate", f"init_from={self.path}", *self._words], LAB).cfg
