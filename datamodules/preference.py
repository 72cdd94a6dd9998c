"""`data=preference`: pairs of a better and a worse answer to the same prompt, for dpo, reward and gbft.loss=dpo.

Subclasses say where pairs come from (`_read`); the rest is theirs as it is: rendering with the chat template, cutting,
what is dropped and counted, and batches that are a function of the update alone.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from itertools import islice
from typing import Any, Literal

from torch.utils.data import DataLoader

from batch import Batch
from bounds import OpenShare, PositiveInt
from datamodules.batching.preference_table import PairBatches, PairSteps, PairTable, make_table
from datamodules.batching.prompts import Prompts, Question
from datamodules.batching.windows import ShuffleOrder
from datamodules.kinds.steps import StepDataModule
from datamodules.reading.ignored import in_words
from datamodules.reading.preference_rows import Preference, preferences
from datamodules.reading.row_files import RowFiles
from errors import RequestError
from tokenization.chat import Message, Tools, chat_template
from tokenization.chat.messages import strings_of, text_of

NO_ROWS = "there are no rows, or all have the same prompt, which stands on one side"


class PairDataModule(StepDataModule):
    """Base: batches of pairs.

    `end` is the id with which an answer ends; `answers` says how answers are compared (evaluation/answers.py).
    """

    provides: tuple[str, ...] = ("pairs", "prompts")
    answers: Literal["number", "letter", "text"] | None = None

    def __init__(
        self,
        *,
        template: Literal["chat", "alpaca", "plain"] = "chat",
        max_prompt: PositiveInt | None = None,
        **shared: Any,
    ):
        """Raises RequestError for a number out of its range."""
        super().__init__(**shared)
        seq_len = self.seq_len
        self.max_prompt = seq_len * 3 // 4 if max_prompt is None else max_prompt
        if not 1 <= self.max_prompt < seq_len:
            raise RequestError(
                f"data.max_prompt={self.max_prompt}: expected 1 to {seq_len - 1}, so that an answer fits behind it.\n"
                "Type model.seq_len=... for more room."
            )
        self.template_style = template
        # of pairs that were read: what the template does not show, and margins that nothing reads
        self.not_used: Counter[str] = Counter()
        self.counts: dict[str, Counter[str]] = {"train": Counter(), "val": Counter()}
        self._tables: dict[str, PairTable] = {}
        self._asked: dict[str, list[tuple[Sequence[Message], Tools]]] = {"train": [], "val": []}

    def _read(self, side: str, dropped: Counter[str]) -> Iterable[Preference]:
        """The pairs of "train" or "val", always the same; what is no pair is counted."""
        raise NotImplementedError

    # Preparing ----------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Reads, renders, cuts; a second call does nothing. Raises RequestError where no pair is left."""
        if self._tables:
            return
        if not self.tokenizer.trained:
            sides = ("train", "val") if self.tokenizer.needs_whole_corpus else ("train",)
            pairs = (pair for side in sides for pair in self._read(side, Counter()))
            self.tokenizer.train(text + "\n" for pair in pairs for text in texts_of(pair))
        template, self.tokenizer = chat_template(self.tokenizer, self.template_style)
        self.template, self.end = template, template.end
        for side, counts in self.counts.items():
            rows = self._read(side, counts)
            table = make_table(
                rows, template, seq_len=self.seq_len, max_prompt=self.max_prompt, counts=counts,
                ignored=self.not_used, kept=partial(self._keep, side),
            )  # fmt: skip
            if len(table) == 0:
                reasons = ", ".join(f"{reason}: {n:,}" for reason, n in counts.items()) or NO_ROWS
                what = {"train": "training", "val": "validation"}[side]
                raise RequestError(f"no pair is left for {what} ({reasons}).\nGive more pairs in data.path.")
            self._tables[side] = table
            if table.n_margins < len(table):  # batches have them where all pairs do
                self._count_margins(table.n_margins, "which other pairs lack")

    margin_from = "column 'margin'"

    def _count_margins(self, n: int, why: str) -> None:
        if n:
            self.not_used[f"{self.margin_from}, {why}"] += n

    def pass_over_margins(self, objective: str) -> None:
        """Counts them as not used, for an objective that reads none; they stay in the batches."""
        n = sum(len(table) for table in self._tables.values() if table.n_margins == len(table))
        self._count_margins(n, f"which objective={objective} does not read")

    def _keep(self, side: str, pair: Preference) -> None:
        if self.keep_messages:
            self._asked[side].append((pair.prompt, pair.tools))

    @property
    def n_indexed(self) -> int:
        """Of both sides; a pair's `index` in a batch is below it, validation after training."""
        return len(self._tables["train"]) + len(self._tables["val"])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the ids of all pairs and of the tokenizer."""
        parts = [table.fingerprint() for table in self._tables.values()]
        return hashlib.sha256(" ".join([*parts, self.tokenizer.fingerprint]).encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """Tokens and pairs of both sides, and what was cut or dropped, by reason."""
        return {
            side: {"tokens": len(table.ids), "pairs": len(table), "counts": dict(self.counts[side])}
            for side, table in self._tables.items()
        }

    def questions(self, limit: int) -> list[Question]:
        """The first prompts of validation, cut as in training, with the chosen answer as the expected one."""
        return [self.question(pair) for pair in islice(self._read("val", Counter()), limit)]

    def question(self, pair: Preference) -> Question:
        prompt = self.template.render_for_completion(pair.prompt, tools=pair.tools)[-self.max_prompt :]
        return Question(prompt, asked_of(pair), pair.chosen, self._source(pair))

    def _source(self, pair: Preference) -> str:
        """What a pair is about, where others are about the same."""
        return ""

    def prompts(self, side: Literal["train", "val"]) -> Prompts:
        """Each pair's prompt, with the chosen answer as the expected one."""
        table = self._tables[side]

        def question(i: int) -> Question:
            prompt, chosen, _ = table.parts(i)
            expected = self.tokenizer.decode([id for id in chosen.tolist() if id != self.end])
            messages, tools = self._asked[side][i] if self.keep_messages else ((), ())
            asked = self.tokenizer.decode(prompt.tolist()).strip()
            return Question(prompt, asked, expected, messages=messages, tools=tools)

        return Prompts(len(table), question)

    def facts(self) -> dict[str, str]:
        """What there is, for the lines at the start."""
        facts = self.describe()
        ignored = {"ignored": in_words(self.ignored)} if self.ignored else {}
        return {side: side_in_words(facts[side]) for side in facts} | ignored

    # Loading ------------------------------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[list[Batch]]:
        return self._step_loader(self._prompt_steps() if self.prompts_per_item else self._steps())

    def val_dataloader(self) -> DataLoader[Batch]:
        batches: Any = self._prompt_batches() if self.prompts_per_item else self._validation()
        return self._loader(batches, range(len(batches)))

    def val_dataset(self) -> PairBatches:
        """All pairs of the validation side, on one rank."""
        return PairBatches(
            self._tables["val"],
            first=len(self._tables["train"]),
            batch_size=self.val_batch_size,
            rank=0,
            world_size=1,
        )

    def epoch_batches(self) -> Iterator[Batch]:
        """This rank's share of every pair once, in the batches of the first epoch; then of validation."""
        steps = self._steps()
        for step in range(steps.steps_per_epoch):
            yield from steps[step]
        yield from self._validation()

    def order(self) -> ShuffleOrder:
        """In which order training sees the pairs."""
        return self._steps().order

    def _steps(self) -> PairSteps:
        return PairSteps(
            self._tables["train"],
            batch_size=self.batch_size,
            accumulate=self.accumulate,
            rank=self.rank,
            world_size=self.world_size,
            seed=self.seed,
        )

    def _validation(self) -> PairBatches:
        return PairBatches(
            self._tables["val"],
            first=len(self._tables["train"]),
            batch_size=self.val_batch_size,
            rank=self.rank,
            world_size=self.world_size,
        )


class PreferenceDataModule(RowFiles, PairDataModule):
    """Pairs out of files or from the Hub; the formats are those of datamodules/reading/preference_rows.py."""

    without_file = "objective=dpo data=arithmetic_pairs"
    usual_val_fraction = 0.05

    def __init__(self, *, val_fraction: OpenShare = 0.05, score_columns: list[str] | None = None, **shared: Any):
        """Raises RequestError for a value out of its range."""
        super().__init__(val_fraction=val_fraction, **shared)
        if score_columns is not None and len(score_columns) != 2:
            raise RequestError(
                f"data.score_columns={score_columns}: expected two names, e.g. [score_chosen,score_rejected]."
            )
        self.score_columns = score_columns or []
        if score_columns:
            self.margin_from = f"data.score_columns={score_columns}"

    @property
    def ignored(self) -> dict[str, int]:
        return super().ignored | self.not_used

    def _read(self, side: str, dropped: Counter[str]) -> Iterator[Preference]:
        pairs = self.read(
            side, lambda rows, ignored: preferences(rows, dropped, scores=self.score_columns, ignored=ignored)
        )
        if self.has_validation:
            return pairs
        return (pair for pair in pairs if (prompt_hash(pair) < self._bound) == (side == "val"))

    @cached_property
    def _bound(self) -> float:
        pairs = preferences(self.rows("train"), Counter(), scores=self.score_columns)
        return split_at(map(prompt_hash, pairs), self.val_fraction)


def split_at(hashes: Iterable[float], fraction: float, *, least: int = 1) -> float:
    """Below which hash prompts are validation's: `fraction`, where that leaves `least` prompts to both sides.

    Of few prompts it may not; then the `least` smallest are validation's. Many are not looked at to their end.
    """
    below, above = set[float](), set[float]()
    for value in hashes:
        (below if value < fraction else above).add(value)
        if len(below) >= least <= len(above):
            return fraction
    found = sorted(below | above)
    return found[least] if len(found) >= 2 * least else fraction


def prompt_hash(pair: Preference) -> float:
    """A number in [0, 1) that depends on the prompt alone: a prompt's pairs are all on one side."""
    digest = hashlib.blake2b(asked_of(pair).encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


def asked_of(pair: Preference) -> str:
    return "\n".join(map(text_of, pair.prompt))


def side_in_words(facts: dict[str, Any]) -> str:
    counts = "".join(f"; {reason}: {n:,}" for reason, n in facts["counts"].items())
    return f"{facts['pairs']:,} pairs, {facts['tokens']:,} tokens{counts}"


def texts_of(pair: Preference) -> list[str]:
    return [*strings_of([*pair.prompt, *pair.answers], pair.tools)]
