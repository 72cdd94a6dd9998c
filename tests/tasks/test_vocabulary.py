"""Another tokenizer over weights that exist: never taken or dropped without a word; ties stay (N25)."""

import json
import pickle
from pathlib import Path

import tiktoken
import torch

from tests.tasks.test_runs import SHORT, corpus, lab, train  # noqa: F401


def weights(run):
    return torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True)["state_dict"]


def test_N25_a_larger_tokenizer_grows_the_embedding_and_keeps_its_tie(capsys):
    assert train("small") == 0
    larger = ["init_from=small", "tokenizer=bpe", "tokenizer.vocab_size=280"]
    assert train("no", *larger) == 2
    assert "init_from=small brings its own tokenizer (byte), and another one" in capsys.readouterr().err
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


def test_N36_a_task_that_keeps_nothing_is_taken_up_again_with_the_tokenizer_of_its_model(capsys):
    """As a sweep does with a job of task=evaluate or task=generate that was cut off."""
    assert train("small") == 0
    assert lab("task=generate", "init_from=small", "hardware=cpu", "max_new_tokens=3", "run_dir=g") == 0
    Path("g/summary.json").unlink()
    assert lab("resume=g") == 0, capsys.readouterr().err


def test_a_nanochat_checkpoint_comes_with_its_tokenizer_and_no_pickle_is_run(capsys):
    C, V = 16, 259
    shapes = {"transformer.wte.weight": (V, C), "lm_head.weight": (V, C)}
    shapes |= {f"transformer.h.0.attn.c_{x}.weight": (C, C) for x in ("q", "k", "v", "proj")}
    shapes |= {"transformer.h.0.mlp.c_fc.weight": (4 * C, C), "transformer.h.0.mlp.c_proj.weight": (C, 4 * C)}
    Path("nano").mkdir()
    torch.save({name: 0.1 * torch.randn(shape) for name, shape in shapes.items()}, "nano/model_000002.pt")
    config = {"sequence_len": 16, "vocab_size": V, "n_layer": 1, "n_head": 2, "n_kv_head": 2, "n_embd": C}
    Path("nano/meta_000002.json").write_text(json.dumps({"step": 2, "model_config": config}))
    ranks = {bytes([i]): i for i in range(256)} | {b"th": 256, b"the": 257}
    encoding = tiktoken.Encoding(
        "rustbpe", pat_str=r"\p{L}+|.|\n", mergeable_ranks=ranks, special_tokens={"<|bos|>": 258}
    )
    Path("nano/tokenizer.pkl").write_bytes(pickle.dumps(encoding))
    words = ["init_from=nano", "hardware=cpu", "prompt=the", "max_new_tokens=3", "run_dir=g"]
    assert lab("task=generate", *words) == 0
    assert len(json.loads(Path("g/samples.jsonl").read_text())["ids"]) <= 3
    words = ["init_from=nano", "data=text", "data.path=text.txt", "data.batch_size=2", *SHORT, "run_dir=more"]
    assert lab(*words) == 0
    assert weights("more")["model.embed.weight"].shape == (V, C)
    facts = json.loads(Path("more/summary.json").read_text())
    assert (facts["model"], facts["tokenizer"]) == ("nanochat", "tiktoken")
