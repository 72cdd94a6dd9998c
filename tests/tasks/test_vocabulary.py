"""Another tokenizer over weights that exist: never taken or dropped without a word; ties stay (N25)."""

import torch

from tests.tasks.test_runs import corpus, lab, train  # noqa: F401


def weights(run):
    return torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True)["state_dict"]


def test_N25_a_larger_tokenizer_grows_the_embedding_and_keeps_its_tie(capsys):
    assert train("small") == 0
    larger = ["init_from=small", "tokenizer=bpe", "tokenizer.vocab_size=280"]
    assert train("no", *larger) == 2
    assert "has a vocabulary of 257, this tokenizer one of 280" in capsys.readouterr().err
    still = ["init.resize_vocab=true", "optimizer.lr=0.0", "optimizer.weight_decay=0.0"]
    assert train("large", *larger, *still) == 0
    assert "resized            2   embed.weight, lm_head.weight" in capsys.readouterr().out
    before, after = weights("small"), weights("large")
    grown = after["model.embed.weight"]
    assert torch.equal(grown[:257], before["model.embed.weight"])
    torch.testing.assert_close(grown[257:], before["model.embed.weight"].mean(0).expand(23, -1))
    assert torch.equal(grown, after["model.lm_head.weight"])
    assert lab("task=generate", "init_from=large", "hardware=cpu", "max_new_tokens=3") == 0
    assert lab("task=generate", "init_from=small", "tokenizer=char", "hardware=cpu") == 2
    assert "brings its own tokenizer" in capsys.readouterr().err
