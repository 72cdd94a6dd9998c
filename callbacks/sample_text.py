"""A few lines of the model's own text after each validation: on the screen and in TensorBoard."""

from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from bounds import NonNegativeFloat, PositiveInt, Seed, Text
from models.generation import stream
from models.sampling import Sampling
from models.sharding import is_sharded
from tokenization.base import Tokenizer


class SampleText(Callback):
    """Continues `prompt` by `max_new_tokens` tokens after each validation, always from the same random numbers.

    Args:
        prompt: text to continue; empty starts from the end-of-text token.
        temperature, top_k: as in task=generate.
    """

    def __init__(
        self,
        *,
        tokenizer: Tokenizer,
        prompt: Text,
        max_new_tokens: PositiveInt,
        temperature: NonNegativeFloat,
        top_k: PositiveInt | None,
        seed: Seed,
    ):
        self.tokenizer, self.prompt, self.max_new_tokens = tokenizer, prompt, max_new_tokens
        self.temperature, self.top_k, self.seed = temperature, top_k, seed

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        sharded = is_sharded(pl_module.model)
        if not (trainer.is_global_zero or sharded):  # sharded weights are gathered by all ranks together
            return
        text = self._sample(pl_module, may_stop=trainer.world_size == 1)
        if not trainer.is_global_zero:
            return
        print(f"sample at step {trainer.global_step}:\n{_indent(text)}", flush=True)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text("sample", f"```\n{text}\n```", trainer.global_step)

    def _sample(self, module: Any, *, may_stop: bool) -> str:
        ids = list(map(int, self.tokenizer.encode(self.prompt))) or [self.tokenizer.eot]
        new: list[int] = []
        for token in stream(
            module.model,
            ids[-module.model.seq_len :],
            max_new_tokens=self.max_new_tokens,
            sampling=Sampling(temperature=self.temperature, top_k=self.top_k),
            seed=self.seed,
        ):
            new.append(token.id)
            if may_stop and module.stop_signal:
                break
        return self.prompt + self.tokenizer.decode_after(ids, new, skip_specials=True)


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
