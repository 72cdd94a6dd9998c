"""The benchmarks of boosting run to their end, at sizes that say nothing of speed."""

import random

import pytest
import torch

from benchmarks import _gbft_seconds as seconds
from benchmarks.gbft_domains import one_seed
from models.gpt import GPT
from tokenization.byte import ByteTokenizer


def test_seconds_are_those_until_a_loss_is_first_reached():
    curve = [(1.0, 3.0), (2.0, 2.0), (3.0, 2.5), (4.0, 1.0)]
    assert seconds.reached(curve, 2.2) == 2.0
    assert seconds.reached(curve, 2.0) == 2.0
    assert seconds.reached(curve, 0.5) is None


@pytest.mark.slow
def test_seconds_to_a_loss_are_told_for_stages_and_for_both_loras(monkeypatch, capsys):
    monkeypatch.setattr(seconds, "BASE_STEPS", 2)
    monkeypatch.setattr(seconds, "STEPS", 3)
    seconds.main()
    said = capsys.readouterr().out
    assert all(f"  {name}" in said for name in seconds.LEARNERS)
    assert said.count("3 updates a stage") == 3
    first = next(line for line in said.splitlines() if "one LoRA, upper layers" in line)
    assert "not reached" not in first  # its own best


@pytest.mark.slow
def test_texts_in_turn():
    """Stages leave what they had: `stages` itself compares the first text's loss, bit for bit."""
    torch.manual_seed(0)
    tokenizer = ByteTokenizer()
    base = GPT(vocab_size=tokenizer.vocab_size, seq_len=128, n_layer=2, n_head=2, n_embd=16)
    letters = [random.Random(i).choices(b"abcdefgh "[i : i + 4], k=30_000) for i in range(3)]
    found = one_seed(base, tokenizer, [bytes(text) for text in letters], seed=0, updates=30)
    assert {arm: (len(losses), len(losses[0])) for arm, losses in found.items()} == {
        "base": (1, 3), "stages": (3, 3), "by text": (3, 3), "in turn": (3, 3), "on all": (1, 3)
    }  # fmt: skip
    for arm in ("stages", "in turn"):
        assert found[arm][0][0] < found["base"][0][0]  # the first text is learned
        assert found[arm][2][2] < found[arm][1][2]  # and the last one, once its turn comes
    assert found["stages"][0] == found["in turn"][0]  # nothing differs until the second text
