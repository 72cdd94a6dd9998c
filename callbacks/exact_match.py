"""Questions of the validation side, answered by the model: val/exact_match, and at the end before against after."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from bounds import NonNegativeInt, PositiveInt
from errors import RequestError
from evaluation.answers import READERS, Kind, Score, is_right
from evaluation.intervals import Estimate, mean_of_sources, proportion_interval
from evaluation.metrics import SUMMARY_METRICS, summary_scores
from evaluation.tool_use import tool_guide
from models.generation import Completion, generate
from models.sampling import Sampling
from models.sharding import is_sharded
from tokenization.chat.messages import answer_of


class Measured(NamedTuple):
    """Answers at one step. `answers` are those of the first questions only.

    `score` is None where there is no right answer to match. `share`: of the right ones, with its interval over what the
    questions are about; `per_source`: its mean over these, None where each has one question. `rouge`: of summaries,
    means by name, with their length in tokens.
    """

    step: int
    score: Score | None
    answers: list[str]
    share: Estimate | None = None
    per_source: float | None = None
    rouge: dict[str, float] | None = None


class ExactMatch(Callback):
    """Answers the first `questions` of the validation side greedily, before training and at each validation.

    Logs val/exact_match (what cannot be read counts as wrong), val/unparsed, the share that could not be read, and
    val/exact_match_per_source where several questions are about the same. Where the data has no right answers to match
    (data.answers=null: dialogues), answers are shown and nothing is logged. Summaries are scored by what they share
    with the expected ones: val/rouge1, rouge2, rougeL, rougeLsum, and their mean length, val/answer_tokens.

    Args:
        data: has `questions(limit)`, `answers` (how to read an answer) and `end` (the id with which one ends).
        questions: how many. shown: of these, as examples.
        max_new_tokens: of an answer; None: a quarter more than the longest expected one.
        batch_size: questions at a time.
        tools: write while it answers, as evaluate.tools do.
    """

    def __init__(
        self,
        *,
        data: Any,
        tokenizer: Any,
        questions: PositiveInt,
        shown: NonNegativeInt,
        max_new_tokens: PositiveInt | None,
        batch_size: PositiveInt,
        tools: list[str] | None = None,
    ):
        """Raises RequestError for a tool that there is not."""
        self.data, self.tokenizer, self.batch_size = data, tokenizer, batch_size
        self.n_questions, self.shown, self.max_new_tokens = questions, shown, max_new_tokens
        self.guide = tool_guide(tools or [], tokenizer)
        self.before: Measured | None = None
        self.after: Measured | None = None

    @property
    def kind(self) -> Kind | None:
        return getattr(self.data, "answers", None)

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        limit = self.n_questions if self.kind else min(self.shown, self.n_questions)
        self.questions = self.mine = self.data.questions(limit)  # `mine`: those of this rank
        if not self.questions:  # the same on all ranks
            if trainer.is_global_zero:
                print("exact   no held-out question leaves room for an answer: val/exact_match is left out", flush=True)
            return
        if self.kind == "summary" and find_spec("rouge_score") is None:
            raise RequestError(
                "data.answers=summary: ROUGE needs the package rouge-score.\n"
                "Type: pip install 'rouge-score>=0.1.2', or data.answers=null for a run that is not scored."
            )
        if self.kind is None and trainer.is_global_zero:
            print("exact   data.answers=null: answers are shown, there is no exact match to log", flush=True)
        if self.max_new_tokens is None:
            longest = max(q.tokens or len(self.tokenizer.encode(q.expected)) for q in self.questions)
            self.max_new_tokens = longest + longest // 4 + 1

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if self.questions and self.before is None and trainer.global_step == 0:
            self.before = self.measure(trainer, pl_module)
            if trainer.is_global_zero and (self.before.score is not None or self.before.rouge is not None):
                print(f"step 0  {in_words(self.before)}", flush=True)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if not self.questions:
            return
        self.after = self.measure(trainer, pl_module)
        if (found := self.after.score) is not None:
            pl_module.measured.extra |= {"val/exact_match": found.exact_match, "val/unparsed": found.unparsed / found.n}
        pl_module.measured.extra |= {f"val/{name}": value for name, value in (self.after.rouge or {}).items()}
        if self.after.per_source is not None:
            pl_module.measured.extra["val/exact_match_per_source"] = self.after.per_source

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero or self.after is None:
            return
        text = self.example(0)
        print(f"question and answer at step {trainer.global_step}:\n{_indent(text)}", flush=True)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text("answers", f"```\n{text}\n```", trainer.global_step)

    def measure(self, trainer: Trainer, module: Any) -> Measured:
        """Ranks share the questions, but where the weights are sharded all answer all of them together."""
        sharded = is_sharded(module.model)
        world, rank = (1, 0) if sharded else (trainer.world_size, trainer.global_rank)
        mine = self.mine = self.questions[rank::world]
        found_ids = generate(
            module.model,
            [question.prompt.tolist() for question in mine],
            max_new_tokens=self.max_new_tokens or 1,
            sampling=Sampling(temperature=0),
            stop_ids=[self.data.end],
            batch_size=self.batch_size,
            guide=self.guide,
        )
        answers = [self.text(completions[0]) for completions in found_ids]
        if self.kind is None:
            return Measured(trainer.global_step, None, answers[: self.shown])
        own = self.marks(answers, mine, [len(made.ids) - made.stopped for made, *_ in found_ids])
        kinds = len(SUMMARY_METRICS) if self.kind == "summary" else 2
        marks = torch.zeros(kinds, len(self.questions), device=module.device)
        marks[:, rank::world] = torch.tensor(own, dtype=marks.dtype, device=module.device).view(-1, kinds).T
        if world > 1:
            dist.all_reduce(marks)
        if self.kind == "summary":
            means = dict(zip(SUMMARY_METRICS, marks.mean(1).tolist(), strict=True))
            return Measured(trainer.global_step, None, answers[: self.shown], rouge=means)
        right, unparsed = marks.cpu().numpy()
        sources = [question.source or question.asked for question in self.questions]
        few = len(set(sources)) < len(sources)
        return Measured(
            trainer.global_step,
            Score(len(sources), int(right.sum()), int(unparsed.sum())),
            answers[: self.shown],
            proportion_interval(right, sources=sources),
            mean_of_sources(right, sources).value if few else None,
        )

    def marks(self, answers: list[str], asked: list[Any], lengths: list[int]) -> list[tuple[float, ...]]:
        """Of each answer: whether it is right, and whether it could not be read; of a summary SUMMARY_METRICS."""
        if self.kind == "summary":
            scores = summary_scores(answers, [question.expected for question in asked], lengths)
            return list(zip(*scores.values(), strict=True))
        assert self.kind is not None
        reader = READERS[self.kind]
        pairs = zip(answers, asked, strict=True)
        return [(is_right(a, q.expected, self.kind), reader(a) is None) for a, q in pairs]

    def text(self, completion: Completion) -> str:
        """What the answer says, without the id that ends it and without what was thought before."""
        ids = completion.ids
        return answer_of(self.data.template.answer(ids[:-1] if completion.stopped else ids))

    def example(self, i: int) -> str:
        """Question, expected answer, answers before and after training."""
        question = self.mine[i]
        parts = {"question": question.asked, "expected": question.expected}
        for name, measured in (("before", self.before), ("now", self.after)):
            if measured is not None and i < len(measured.answers):
                mark = ""
                if self.kind not in (None, "summary"):
                    mark = ", right" if is_right(measured.answers[i], question.expected, self.kind) else ", wrong"
                parts[f"{name}{mark}"] = measured.answers[i][:160]
        return "\n".join(f"{name + ':':<15}{' / '.join(text.splitlines())}" for name, text in parts.items())

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero or self.after is None:
            return
        rows = [("before", self.before), ("after", self.after)]
        print("\nanswers to held-out questions")
        for name, measured in rows:
            if measured is not None and (measured.score is not None or measured.rouge is not None):
                print(f"  {name:<7} step {measured.step:<7} {in_words(measured)}")
        for i in range(min(self.shown, len(self.after.answers))):
            print(f"\n{_indent(self.example(i))}")
        self.write(Path(trainer.default_root_dir))

    def write(self, folder: Path) -> None:
        """answers.json: scores before and after, and the examples."""
        tree: dict[str, Any] = {}
        for name, measured in (("before", self.before), ("after", self.after)):
            if measured is not None and measured.score is not None:
                tree[name] = {
                    "step": measured.step,
                    **measured.score.__dict__,
                    "exact_match": measured.score.exact_match,
                }
                if measured.share is not None and measured.share.low == measured.share.low:  # not NaN
                    tree[name] |= {"low": measured.share.low, "high": measured.share.high}
                if measured.per_source is not None:
                    tree[name]["exact_match_per_source"] = measured.per_source
            elif measured is not None and measured.rouge is not None:
                tree[name] = {"step": measured.step, "n": len(self.questions)} | measured.rouge
        examples = [
            {
                "question": question.asked,
                "expected": question.expected,
                **{
                    name: measured.answers[i]
                    for name, measured in (("before", self.before), ("after", self.after))
                    if measured is not None and i < len(measured.answers)
                },
            }
            for i, question in enumerate(self.mine[: self.shown])
        ]
        (folder / "answers.json").write_text(json.dumps(tree | {"examples": examples}, indent=1) + "\n")

    def state_dict(self) -> dict[str, Any]:
        """What was measured before the first step: a resumed run cannot measure it again."""
        if self.before is None:
            return {}
        found = self.before.score
        counts = None if found is None else [found.n, found.right, found.unparsed]
        share = None if self.before.share is None else list(self.before.share)
        return {
            "before": [self.before.step, counts, self.before.answers, share, self.before.per_source, self.before.rouge]
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if "before" in state_dict:
            step, counts, answers, *later = state_dict["before"]  # older checkpoints have no interval, no ROUGE
            share, per_source, rouge = (*later, None, None, None)[:3]
            score = None if counts is None else Score(*counts)
            self.before = Measured(step, score, answers, None if share is None else Estimate(*share), per_source, rouge)


def in_words(measured: Measured) -> str:
    """ "exact match 31.2% (160 of 512, 3 could not be read; 95 % interval 26.3 to 36.5 %; 29.0% over 275 sources)" """
    if measured.rouge is not None:
        *scores, length = measured.rouge.values()
        return f"ROUGE-1/2/L/Lsum {'/'.join(f'{100 * score:.1f}' for score in scores)}, {length:.1f} tokens an answer"
    found = measured.score
    assert found is not None
    told = [f"{found.right} of {found.n}" + (f", {found.unparsed} could not be read" if found.unparsed else "")]
    if measured.share is not None and measured.share.low == measured.share.low:
        told.append(f"95 % interval {100 * measured.share.low:.1f} to {100 * measured.share.high:.1f} %")
    if measured.per_source is not None:
        told.append(f"{measured.per_source:.1%} where each source counts once")
    return f"exact match {found.exact_match:.1%} ({'; '.join(told)})"


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
