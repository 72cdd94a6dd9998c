"""Prompts of conversations and pairs: nothing of the answer in them, numbered, each once an epoch, shared by ranks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.arithmetic import ArithmeticDataModule
from datamodules.arithmetic_pairs import ArithmeticPairsDataModule
from datamodules.batching.examples import Conversation
from datamodules.batching.prompts import PromptBatches, PromptSteps, last_question
from datamodules.batching.windows import StepSampler
from datamodules.chat import ChatDataModule
from errors import RequestError
from launcher.config.compose import compose
from launcher.lab import Lab
from tasks.parts import judged_by_messages
from tokenization.byte import ByteTokenizer
from tokenization.char import CharTokenizer
from tokenization.chat import Rendered


def conversations(**settings):
    data = ArithmeticDataModule(tokenizer=CharTokenizer(), seq_len=256, batch_size=2, val_examples=8, **settings)
    data.prepare()
    return data


def pairs():
    data = ArithmeticPairsDataModule(
        tokenizer=CharTokenizer(), seq_len=256, batch_size=2, pairs=16, val_pairs=6, max_steps=2, max_number=20
    )
    data.prepare()
    return data


@pytest.mark.parametrize("make", [conversations, pairs])
@pytest.mark.parametrize("side", ["train", "val"])
def test_a_prompt_is_what_the_question_is_rendered_to(make, side):
    data = make()
    prompts = data.prompts(side)
    if side == "val":
        for i, question in enumerate(data.questions(5)):
            assert prompts[i].prompt.tolist() == question.prompt.tolist()
            assert prompts[i].expected == question.expected
    for i in range(5):
        question = prompts[i]
        assert "####" in question.expected
        assert "####" not in data.tokenizer.decode(question.prompt.tolist())


@pytest.mark.parametrize("make", [conversations, pairs])
@pytest.mark.parametrize("side", ["train", "val"])
def test_a_question_has_the_messages_that_it_was_rendered_from(make, side):
    data = make()
    prompts = data.prompts(side)
    for i in range(5):
        question = prompts[i]
        assert [message["role"] for message in question.messages] == ["user"]
        assert data.template.render_for_completion(question.messages).tolist() == question.prompt.tolist()


@pytest.mark.parametrize(
    ("settings", "turn"),
    [
        ({}, 3),
        ({"learn": "last"}, 3),
        ({"truncate": "end", "seq_len": 43}, 2),  # the third answer is cut off
        ({"truncate": "start", "seq_len": 28}, 3),
    ],
)
def test_messages_of_many_turns_end_where_the_last_answer_begins_that_is_left(tmp_path, settings, turn):
    """What is cut is not asked: the last question is that of the last answer with a token in it."""
    messages = [{"role": "system", "content": "S"}]
    for i in range(1, 4):
        messages += [{"role": "user", "content": f"ask {i}"}, {"role": "assistant", "content": f"say {i}"}]
    rows = [json.dumps({"messages": messages, "tools": [{"name": "t"}]})] * 2
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    data = ChatDataModule(
        path=str(tmp_path / "a.jsonl"), val_path=str(tmp_path / "a.jsonl"), tokenizer=ByteTokenizer(), batch_size=1,
        **({"seq_len": 256} | settings),
    )  # fmt: skip
    data.prepare()
    for side in ("train", "val"):
        question = data.prompts(side)[0]
        assert question.messages == messages[: 2 * turn]
        assert question.tools == [{"name": "t"}]
        assert question.expected.startswith(f"say {turn}"[: len(question.expected)])


def test_nothing_is_kept_where_nobody_asks():
    data = ChatDataModule(path="x", tokenizer=ByteTokenizer(), seq_len=64, batch_size=1)
    data.keep_messages = False
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    data._stored([Conversation(turns)] * 3, [Conversation(turns)])
    assert (len(data._train_kept), len(data._val_kept)) == (0, 1)


@pytest.mark.parametrize(("reward", "kept"), [("answer", False), ("verifier", True), ("reward_model", True)])
def test_messages_are_kept_for_judges_that_read_them(reward, kept):
    cfg = compose(["objective=grpo", f"reward={reward}"], Lab(Path(__file__).parents[2])).cfg
    assert judged_by_messages(cfg) == kept


def test_questions_need_no_messages(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "q", "completion": "a"}\n' * 20)
    data = ChatDataModule(path=str(tmp_path / "a.jsonl"), tokenizer=ByteTokenizer(), seq_len=64, batch_size=1)
    data.keep_messages = False
    data.prepare()
    question = data.prompts("train")[0]
    assert (question.expected, question.messages) == ("a", ())


def test_the_last_unbroken_run_is_the_answer():
    class Ids:
        def decode(self, ids):
            return " ".join(map(str, ids))

    def found(mask):
        example = Rendered(np.arange(10, 10 + len(mask)), np.array(mask, bool))
        return last_question(example, Ids(), end=10 + len(mask) - 1)

    assert found([0, 0, 1, 1, 0, 1, 1, 1]).prompt.tolist() == [10, 11, 12, 13, 14]
    assert found([0, 0, 1, 1, 0, 1, 1, 1]).expected == "15 16"
    assert found([0, 1, 1, 0]).expected == "11 12"  # not the end
    with pytest.raises(RequestError, match=r"data\.learn=assistant"):
        found([1, 1, 1])


def test_each_prompt_once_an_epoch_and_generated_ones_never_again():
    steps = PromptSteps(12, per_item=4, seed=0)
    numbers = [steps[k][0]["index"].tolist() for k in range(6)]
    for epoch in (numbers[:3], numbers[3:]):
        assert sorted(i for step in epoch for i in step) == list(range(12))
    assert numbers[:3] != numbers[3:]
    endless = PromptSteps(None, per_item=4, seed=0)
    assert endless[2][0]["index"].tolist() == [8, 9, 10, 11]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_held_out_prompts_are_shared_out_whole_in_as_many_batches(world):
    shares = [PromptBatches(7, batch_size=2, rank=rank, world_size=world) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    found = torch.cat([share[i]["index"] for share in shares for i in range(len(share))])
    assert sorted(found[found >= 0].tolist()) == list(range(7))


@pytest.mark.parametrize("make", [conversations, pairs])
def test_N61_one_item_serves_several_updates_and_a_resume_begins_at_its_own(make):
    data = make()
    data.serve_prompts(per_item=2, held_out=3)
    data.updates_per_item = 2
    whole = [item[0]["index"].tolist() for item, _ in zip(data.train_dataloader(), range(8), strict=False)]
    assert whole[0::2] == whole[1::2]
    assert whole[0] != whole[2]
    data.start_step = 3
    later = [item[0]["index"].tolist() for item, _ in zip(data.train_dataloader(), range(5), strict=False)]
    assert later == whole[3:]
    assert [batch["index"].tolist() for batch in data.val_dataloader()] == [[0, 1], [2]]


def test_a_sampler_repeats_its_items():
    steps = iter(StepSampler(3, repeats=2))
    assert [next(steps) for _ in range(5)] == [1, 2, 2, 3, 3]
