"""reward=reward_model: the score of a model that was trained on preferences.

    run=null          the run trains its own first, from its start, on the pairs of its data (objective=ppo)
    run=RUN_FOLDER    a run of objective=reward; it must have the policy's tokenizer (N53)
    run=FOLDER_OR_ID  a sequence classifier of transformers: it reads text with its own tokenizer and template

Shapes: N answers, T tokens.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bounds import PositiveInt
from errors import RequestError
from models.heads import RewardModel, score
from models.weights.told import told
from rewards.base import Answers, Reward, by_length
from tokenization.base import Tokenizer
from tokenization.chat import Message, Tools
from tokenization.chat.messages import FLAGS, text_of


class LearnedReward(Reward):
    """Args: run: see above. batch_size: answers scored at a time."""

    reads_messages = True

    def __init__(
        self,
        *,
        run: str | None,
        batch_size: PositiveInt,
        tokenizer: Tokenizer,
        load_model: Callable[[str], tuple[Any, Tokenizer]],
        **shared: Any,
    ):
        super().__init__(**shared)
        self.run, self.batch_size, self.tokenizer = run, batch_size, tokenizer
        self.model: nn.Module | None = None
        self.classifier: Classifier | None = None
        if run is None:
            return
        if (Path(run).expanduser() / ".hydra").is_dir():
            self.use(*load_model(run))
        else:
            self.classifier = Classifier(run, batch_size)

    def use(self, model: nn.Module, tokenizer: Tokenizer) -> None:
        """Raises RequestError for a model that gives no score, or reads other ids than the policy writes."""
        if not isinstance(model, RewardModel):
            raise RequestError(
                f"reward.reward_model.run={self.run} is a {type(model).__name__}, which gives no score.\n"
                "Name a run of objective=reward, or leave the key out: then one is trained first."
            )
        if tokenizer.fingerprint != self.tokenizer.fingerprint:
            raise RequestError(
                f"reward.reward_model.run={self.run} has another tokenizer ({tokenizer.kind}, {tokenizer.vocab_size:,} "
                f"ids) than the policy ({self.tokenizer.kind}, {self.tokenizer.vocab_size:,}): it would read other "
                "words.\nTrain it from the policy's start: python run.py objective=reward init_from=..."
            )
        self.model = model.requires_grad_(False).eval()

    def forward(self, answers: Answers) -> Tensor:
        if self.classifier is not None:
            return self.classifier(answers)
        assert isinstance(self.model, RewardModel)
        self.model.eval()
        rows = [[*prompt, *ids] for prompt, ids in zip(answers.prompt_ids, answers.ids, strict=True)]
        return by_length(rows, [len(row) for row in rows], self._scores, batch_size=self.batch_size)

    def _scores(self, rows: list[list[int]]) -> Tensor:
        assert isinstance(self.model, RewardModel)
        device, T = self.model.head.weight.device, max(map(len, rows))
        ids_NT = torch.tensor([row + [0] * (T - len(row)) for row in rows], device=device)
        lengths_N = torch.tensor([len(row) for row in rows], device=device)
        real_NT = torch.arange(T, device=device) < lengths_N.unsqueeze(1)
        return score(self.model, ids_NT, real_NT)[0]


class Classifier(nn.Module):
    """A sequence classifier of transformers with one output, behind its own tokenizer and chat template."""

    def __init__(self, path: str, batch_size: int):
        super().__init__()
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        try:
            with told(f"loading {path}"):
                self.model = AutoModelForSequenceClassification.from_pretrained(path).requires_grad_(False).eval()
            self.tokenizer = AutoTokenizer.from_pretrained(path)
        except (OSError, ValueError) as error:
            raise RequestError(
                f"reward.reward_model.run={path} is neither a run folder of objective=reward nor a sequence "
                f"classifier of transformers: {str(error).splitlines()[0]}"
            ) from None
        if self.model.config.num_labels != 1:
            raise RequestError(f"reward.reward_model.run={path} gives {self.model.config.num_labels} scores, not one.")
        self.config = self.model.config.get_text_config()
        given = self.config.pad_token_id
        self.pad = given if given is not None and 0 <= given < self.config.vocab_size else None
        self.path, self.batch_size = path, batch_size

    def forward(self, answers: Answers) -> Tensor:
        asked = zip(answers.questions(), answers.texts, strict=True)
        texts = [self._written(messages, tools, text) for (messages, tools), text in asked]
        written = self.tokenizer.chat_template is not None
        columns = self.tokenizer(texts, add_special_tokens=not written)  # a template writes its own
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return by_length(rows, [len(row["input_ids"]) for row in rows], self._scores, batch_size=self.batch_size)

    def _scores(self, rows: list[dict[str, list[int]]]) -> Tensor:
        """A causal model of transformers is scored at the last token that is not `pad_token_id`: no row may end in it,
        unless the folder says so, as those who trained the model had it."""
        T, last = max(len(row["input_ids"]) for row in rows), {row["input_ids"][-1] for row in rows}
        wished = [self.tokenizer.pad_token_id or 0, *range(len(last) + 1)]
        self.config.pad_token_id = next(i for i in wished if i not in last) if self.pad is None else self.pad
        fill = {"input_ids": self.config.pad_token_id}  # 0 in masks
        batch = {
            name: torch.tensor([row[name] + [fill.get(name, 0)] * (T - len(row[name])) for row in rows])
            for name in rows[0]
        }
        return self.model(**{name: value.to(self.model.device) for name, value in batch.items()}).logits[:, 0].float()

    def _written(self, messages: Sequence[Message], tools: Tools, answer: str) -> str:
        """Raises RequestError where the template refuses the conversation."""
        if self.tokenizer.chat_template is None:
            return "\n".join([*map(text_of, messages), answer])
        turns = [*map(for_template, messages), {"role": "assistant", "content": answer}]
        try:
            return str(self.tokenizer.apply_chat_template(turns, tools=list(tools) or None, tokenize=False))
        except Exception as error:  # Jinja's, and whatever the template's own code raises
            raise RequestError(
                f"reward.reward_model.run={self.path}: its chat template refuses a question of this data: {error}.\n"
                f"The roles are {', '.join(turn['role'] for turn in turns)}."
            ) from None


def for_template(message: Message) -> dict[str, Any]:
    """A message as templates know it: no flags of training, no empty fields, text in one piece."""
    given = {name: value for name, value in message.items() if value is not None and name not in FLAGS}
    return given | {"content": text_of(message)}
