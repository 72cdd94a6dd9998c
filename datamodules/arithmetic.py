"""`data=arithmetic`: word problems with worked steps, generated, with nothing to download."""

from __future__ import annotations

from typing import Annotated, Any

from bounds import PositiveInt, at_least, between
from datamodules.batching.examples import Conversation, Examples, GeneratedExamples
from datamodules.kinds.conversations import ConversationDataModule
from datamodules.reading.problems import Side, make_problem
from errors import RequestError
from tokenization.chat import Rendered


class ArithmeticDataModule(ConversationDataModule):
    answers = "number"

    def __init__(
        self,
        *,
        max_steps: Annotated[int, between(1, 8)] = 2,
        max_number: Annotated[int, at_least(10)] = 50,
        val_examples: PositiveInt = 512,
        **shared: Any,
    ):
        super().__init__(**shared)
        self.max_steps, self.max_number, self.val_examples = max_steps, max_number, val_examples

    def _load(self) -> tuple[Examples, Examples]:
        if not self.tokenizer.trained:
            self.tokenizer.train(self._text("train", i) for i in range(10_000))
        train = GeneratedExamples(lambda i: self._example("train", i))
        return train, GeneratedExamples(lambda i: self._example("val", i), self.val_examples)

    def _train_conversation(self, i: int) -> Conversation:
        return self._conversation("train", i)

    def _val_conversation(self, i: int) -> Conversation:
        return self._conversation("val", i)

    def _source(self, i: int) -> str:
        return self._val_conversation(i).messages[-1]["content"]  # the chain of sums, whatever the story

    def _conversation(self, side: Side, i: int) -> Conversation:
        # validation is the same for every seed: runs compare
        seed = self.seed if side == "train" else 0
        problem = make_problem(i, seed=seed, side=side, max_steps=self.max_steps, max_number=self.max_number)
        messages = (
            {"role": "user", "content": problem.question},
            {"role": "assistant", "content": problem.solution},
        )
        return Conversation(messages)

    def _example(self, side: Side, i: int) -> Rendered:
        rendered = self.template.render(self._conversation(side, i).messages, learn=self.learn)
        if len(rendered.ids) > self.seq_len + 1:
            raise RequestError(
                f"a problem takes {len(rendered.ids) - 1} tokens, more than data.seq_len={self.seq_len}.\n"
                f"Type model.seq_len={2 * self.seq_len}, or fewer steps: data.max_steps={max(1, self.max_steps - 1)}."
            )
        return rendered

    def _text(self, side: Side, i: int) -> str:
        return "\n".join(message["content"] for message in self._conversation(side, i).messages) + "\n"
