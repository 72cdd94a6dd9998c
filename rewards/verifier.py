"""reward=verifier: the probability that an answer is right, by a run of objective=verifier. 0 to 1; it needs no scale.

A verifier with the policy's tokenizer reads the policy's own ids; another one reads text, in the chat template of its
own tokenizer. What is pushed towards a learned judge finds its weak places: watch exact match beside it.

Shapes: N answers, T tokens.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bounds import PositiveInt
from errors import RequestError
from models.heads import Verifier, at_end, judge
from rewards.base import Answers, Reward, by_length
from tokenization.base import Tokenizer
from tokenization.chat import TURN_SPECIALS, chat_template

Row = tuple[list[int], list[int]]  # ids of a question and of the answer to it, its end included


class Verified(Reward):
    """Args: run: a run of objective=verifier. batch_size: answers judged at a time."""

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
        """Raises RequestError where no run is named, it is none of objective=verifier, or cannot read the answers."""
        super().__init__(**shared)
        if run is None:
            raise RequestError(
                "reward.verifier.run=null: type reward.verifier.run=<the folder of a run of objective=verifier>.\n"
                "It learns from answers of the policy: task=evaluate ... evaluate.samples=16, then objective=verifier."
            )
        model, theirs = load_model(run)
        if not isinstance(model, Verifier):
            raise RequestError(
                f"reward.verifier.run={run} is a {type(model).__name__}, no verifier.\n"
                "Name a run of objective=verifier, or type reward=reward_model."
            )
        self.run, self.batch_size, self.model = run, batch_size, model.requires_grad_(False).eval()
        self.template = None
        if theirs.fingerprint != tokenizer.fingerprint:
            if not set(TURN_SPECIALS) <= set(theirs.specials):
                raise RequestError(
                    f"reward.verifier.run={run} has another tokenizer than the policy, and no tokens of a chat "
                    "template: what the policy says cannot be shown to it.\nTrain it from the policy's start."
                )
            self.template = chat_template(theirs, "chat")[0]

    def forward(self, answers: Answers) -> Tensor:
        rows = self._rows(answers)
        if long := [n for prompt, ids in rows if (n := len(prompt) + len(ids)) > self.model.seq_len]:
            raise RequestError(
                f"reward.verifier.run={self.run} reads {self.model.seq_len:,} tokens, and an answer with its question "
                f"takes {max(long):,}.\nType a smaller objective.max_new_tokens."
            )
        lengths = [len(prompt) + len(ids) for prompt, ids in rows]
        return by_length(rows, lengths, self._probabilities, batch_size=self.batch_size)

    def _rows(self, answers: Answers) -> list[Row]:
        if self.template is None:
            return [(list(prompt), list(ids)) for prompt, ids in zip(answers.prompt_ids, answers.ids, strict=True)]
        found = []
        for (messages, tools), text in zip(answers.questions(), answers.texts, strict=True):
            prompt = self.template.render_for_completion(messages, tools=tools).tolist()
            found.append((prompt, [*self.template.tokenizer.encode(text).tolist(), self.template.end]))
        return found

    def _probabilities(self, rows: Sequence[Row]) -> Tensor:
        device, T = self.model.head.weight.device, max(len(prompt) + len(ids) for prompt, ids in rows)
        ids_NT = torch.tensor([[*p, *ids, *[0] * (T - len(p) - len(ids))] for p, ids in rows], device=device)
        at_T = torch.arange(T, device=device)
        starts_N = torch.tensor([len(prompt) for prompt, _ in rows], device=device)
        real_NT = at_T < (starts_N + torch.tensor([len(ids) for _, ids in rows], device=device)).unsqueeze(1)
        answer_NT = real_NT & (at_T >= starts_N.unsqueeze(1))
        return at_end(judge(self.model, ids_NT, real_NT, answer_NT)[0], real_NT).sigmoid()
