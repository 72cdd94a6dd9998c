"""What the judge hands to rewards."""

from types import SimpleNamespace

import pytest

from datamodules.arithmetic import ArithmeticDataModule
from datamodules.arithmetic_pairs import ArithmeticPairsDataModule
from lightning_modules.rl.judge import Judge
from rewards.base import Rewards
from tokenization.byte import ByteTokenizer


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [(ArithmeticDataModule, {}), (ArithmeticPairsDataModule, {"pairs": 8, "val_pairs": 4})],
)
def test_rewards_are_given_what_was_asked_without_the_policys_specials(kind, sizes):
    data = kind(tokenizer=ByteTokenizer(), seq_len=256, batch_size=2, max_steps=1, max_number=20, **sizes)
    data.prepare()
    judge = Judge(Rewards({}), tokenizer=data.tokenizer, answers_kind="number", truncated="score", truncated_score=0.0)
    questions = [data.prompts("train")[i] for i in range(2)]
    completion = SimpleNamespace(ids=[*data.tokenizer.encode("7").tolist(), data.end], stopped=True)
    answers = judge.answers(questions, [completion] * 2)
    for (messages, tools), asked in zip(answers.questions(), answers.asked, strict=True):
        assert [message["role"] for message in messages] == ["user"]
        assert "<|" not in messages[0]["content"]
        assert messages[0]["content"] in asked
        assert tools == ()
