"""What every data module of conversations does: render, count, batch, and hold questions ready for evaluation.

How to add one: a format in `datamodules/reading/formats.py` and a YAML on `ChatDataModule`; or, for data that is
generated, a subclass with `_load` as `datamodules/arithmetic.py`.
"""

from __future__ import annotations

import hashlib
import sys
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from torch.utils.data import DataLoader

from batch import Batch
from bounds import NonNegativeInt
from datamodules.batching.example_batches import ExampleSteps, PackedSteps, ValidationExamples
from datamodules.batching.examples import Conversation, Examples, Report, Truncate, render_all
from datamodules.batching.preview import marked
from datamodules.batching.prompts import Prompts, Question, last_question
from datamodules.kinds.steps import StepDataModule
from datamodules.reading.ignored import in_words
from errors import RequestError
from tokenization.base import digest
from tokenization.chat import Rendered, chat_template, prompt_of
from tokenization.chat.messages import answer_of, strings_of, text_of
from tokenization.chat.template import turns_of


class ConversationDataModule(StepDataModule):
    """Examples out of conversations.

    `end` is the id with which an answer ends; `answers` says how answers are compared (evaluation/answers.py); None:
    they are not, since there is no one right answer to match.
    """

    provides: tuple[str, ...] = ("conversations", "prompts")
    truncate: Truncate = "drop"
    answers: Literal["number", "letter", "text", "summary"] | None

    def __init__(
        self,
        *,
        template: Literal["chat", "alpaca", "plain", "seq2seq"] = "chat",
        learn: Literal["assistant", "last", "all"] = "assistant",
        batching: Literal["grouped", "plain", "packed"] = "grouped",
        preview: NonNegativeInt = 0,
        **shared: Any,
    ):
        super().__init__(**shared)
        self.template, self.tokenizer = chat_template(self.tokenizer, template)
        self.learn, self.batching, self.preview = learn, batching, preview
        self._sides: tuple[Examples, Examples] | None = None
        self._train_kept: list[Conversation] = []
        self._val_kept: list[Conversation] = []

    @abstractmethod
    def _load(self) -> tuple[Examples, Examples]:
        """Training and validation examples; the latter have an end."""

    def _train_conversation(self, i: int) -> Conversation:
        """The conversation that training example `i` was rendered from; with `keep_messages` alone."""
        return self._train_kept[i]

    def _val_conversation(self, i: int) -> Conversation:
        """The conversation that validation example `i` was rendered from."""
        return self._val_kept[i]

    def _stored(self, train: Sequence[Conversation], val: Sequence[Conversation]) -> tuple[Examples, Examples]:
        """Both sides rendered; where the tokenizer learns from the data, it does so first."""
        if not self.tokenizer.trained:
            sides = (train, val) if self.tokenizer.needs_whole_corpus else (train,)
            self.tokenizer.train(
                text + "\n" for side in sides for c in side for text in strings_of(c.messages, c.tools)
            )
        settings: Any = {"learn": self.learn, "seq_len": self.seq_len, "truncate": self.truncate}
        if self.keep_messages:
            settings["kept"] = self._train_kept.append
        examples = render_all(train, self.template, **settings)
        return examples, render_all(val, self.template, **(settings | {"kept": self._val_kept.append}))

    # Preparing ----------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Render and count; a second call does nothing. Raises RequestError where nothing would be learned (N26)."""
        if self._sides is not None:
            return
        train, val = self._load()
        for side, examples in (("training", train), ("validation", val)):
            if examples.report.kept == 0:
                raise RequestError(nothing_to_learn(side, examples.report, self.learn, self.seq_len))
        self._sides = (train, val)

    @property
    def end(self) -> int:
        return self.template.end

    @property
    def train(self) -> Examples:
        return self._prepared()[0]

    @property
    def val(self) -> Examples:
        return self._prepared()[1]

    def _prepared(self) -> tuple[Examples, Examples]:
        if self._sides is None:
            raise RuntimeError(f"{type(self).__name__}: call prepare() first")
        return self._sides

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the examples and of the tokenizer: equal, if training would see the same."""
        sides = [examples.fingerprint() for examples in self._prepared()]
        return digest({"tokenizer": self.tokenizer.fingerprint, "examples": sides})

    @property
    def ignored(self) -> dict[str, int]:
        return self.not_rendered

    @property
    def not_rendered(self) -> dict[str, int]:
        """Fields of messages, and tools, that the template does not show to the model, with how often."""
        found: Counter[str] = sum((examples.report.not_rendered for examples in self._sides or ()), Counter())
        return {f"column {name!r}" if name == "tools" else f"a message's {name!r}": n for name, n in found.items()}

    def describe(self) -> dict[str, Any]:
        """What there is, JSON types."""
        sides = {side: facts_of(examples) for side, examples in zip(("train", "val"), self._prepared(), strict=True)}
        return sides | ({"ignored": self.ignored} if self.ignored else {})

    def facts(self) -> dict[str, str]:
        """What there is in words, one line a side, and a preview of the mask where it was asked for."""
        words = {
            side: side_in_words(examples) for side, examples in zip(("train", "val"), self._prepared(), strict=True)
        }
        if self.ignored:
            words["ignored"] = in_words(self.ignored)
        if self.batching == "packed":
            words["packed"] = f"{self._packed_steps().filled:.1%} of each row of {self.seq_len} tokens is filled"
        for i in range(self.preview):
            colour = sys.stdout.isatty()
            words[f"row {i}"] = marked(self.tokenizer, self.train[i], colour=colour)
        return words

    # Loading ------------------------------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[list[Batch]]:
        """Endless; item k holds the micro-batches of optimizer step `start_step` + k on this rank."""
        if self.prompts_per_item:
            return self._step_loader(self._prompt_steps())
        steps = self._packed_steps() if self.batching == "packed" else self._example_steps()
        return self._step_loader(steps)

    def _example_steps(self) -> ExampleSteps:
        return ExampleSteps(self.train, grouped=self.batching == "grouped", **self._shape())

    def _packed_steps(self) -> PackedSteps:
        return PackedSteps(self.train, seq_len=self.seq_len, **self._shape())

    def _shape(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "accumulate": self.accumulate,
            "rank": self.rank,
            "world_size": self.world_size,
            "seed": self.seed,
            "pad": self.tokenizer.eot,
        }

    def val_dataloader(self) -> DataLoader[Batch]:
        """Every validation example once; this rank's share of them."""
        dataset: Any = self._prompt_batches() if self.prompts_per_item else self._validation(self.rank, self.world_size)
        return self._loader(dataset, range(len(dataset)))

    def val_dataset(self) -> ValidationExamples:
        """All of the validation side, on one rank."""
        return self._validation(0, 1)

    def _validation(self, rank: int, world_size: int) -> ValidationExamples:
        return ValidationExamples(
            self.val, batch_size=self.val_batch_size, rank=rank, world_size=world_size, pad=self.tokenizer.eot
        )

    def prompts(self, side: Literal["train", "val"]) -> Prompts:
        examples = self.train if side == "train" else self.val
        conversation = self._train_conversation if side == "train" else self._val_conversation

        def question(i: int) -> Question:
            found = last_question(examples[i], self.tokenizer, self.end)
            if side == "train" and not self.keep_messages:
                return found
            messages, _, tools = conversation(i)
            answer = self._answered(conversation(i), examples[i], len(found.prompt))
            return found._replace(messages=messages[:answer], tools=tools)

        return Prompts(examples.size, question)

    def _answered(self, conversation: Conversation, example: Rendered, place: int) -> int:
        """The number of the message that the example's token at `place` is of: of the assistant's, some may be cut."""
        messages, _, tools = conversation
        answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
        if len(answers) == 1:
            return answers[0]
        turn_n = turns_of(self.template.segments(messages, tools))
        of_end = self.truncate in ("start", "source")  # what was cut stood before
        turn = int(turn_n[place - len(example.ids) if of_end else place])
        return answers[turn - 1]  # NOBODY, where every token is learned: the last

    def questions(self, limit: int | None = None) -> list[Question]:
        """Validation conversations, each without its last answer; the first `limit` that leave room for an answer."""
        assert self.val.size is not None
        found: list[Question] = []
        for i in range(self.val.size):
            if len(found) == limit:
                break
            messages, _, tools = self._val_conversation(i)
            prompt = self.template.render_for_completion(messages, tools=tools)
            if len(prompt) < self.seq_len:
                asked, expected = text_of(prompt_of(messages)[-1]), answer_of(messages[-1])
                learned = int(self.template.render(messages, learn="last", tools=tools).mask.sum())
                found.append(Question(prompt, asked, expected, self._source(i), max(0, learned - 1)))  # without its end
        return found

    def _source(self, i: int) -> str:
        """What validation example `i` is about, where others are about the same."""
        return ""


def share_of(conversation: Conversation) -> float:
    """A number in [0, 1) from what is asked: equal questions, equal numbers."""
    asked = "\0".join(map(text_of, prompt_of(conversation.messages)))
    digest = hashlib.blake2b(asked.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


def facts_of(examples: Examples) -> dict[str, Any]:
    report = examples.report
    counts = {name: getattr(report, name) for name in ("rows", "kept", "too_long", "tokens_cut", "unsupervised")}
    return counts | {
        "unlimited": examples.size is None,
        "documents": report.kept,
        "tokens": report.tokens,
        "supervised_tokens": report.supervised,
        "supervised_share": report.supervised_share,
    }


def side_in_words(examples: Examples) -> str:
    """Examples, tokens, the share that is learned; what was cut and left out (N26)."""
    report = examples.report
    mean = report.tokens / max(1, report.kept)
    start = "unlimited examples" if examples.size is None else f"{examples.size:,} examples"
    words = [f"{start} of {mean:.0f} tokens, {report.supervised_share:.1%} of them supervised"]
    if report.tokens_cut:
        words.append(f"{report.too_long:,} cut ({report.tokens_cut:,} tokens lost)")
    elif report.too_long:
        words.append(f"{report.too_long:,} left out as too long")
    if report.read_only:
        words.append(f"{report.read_only:,} turns of weight 0 read, not learned")
    if report.unsupervised:
        words.append(f"{report.unsupervised:,} left out: nothing in them to learn")
    return "; ".join(words)


def nothing_to_learn(side: str, report: Report, learn: str, seq_len: int) -> str:
    why = f"{report.too_long:,} are longer than data.seq_len={seq_len}" if report.too_long else "the mask is empty"
    return (
        f"The {side} side has nothing to learn: of {report.rows:,} conversations none is left ({why};"
        f" data.learn={learn}).\nType a longer model.seq_len, data.learn=all, or look at it: data.preview=3."
    )
