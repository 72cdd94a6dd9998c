"""Damaged, missing and hostile files; what a model takes and what it refuses."""

import json
import os

import pytest
import torch
from safetensors.torch import save_file

from errors import RequestError
from models.gpt import GPT
from models.transformer import Transformer
from models.weights import nanochat
from models.weights.families import FAMILIES
from models.weights.files import read_tensors
from models.weights.filling import fill, resized
from models.weights.loading import load_weights
from models.weights.renaming import to_theirs
from models.weights.saving import settings_of
from models.weights.sections import config_of, model_section

LLAMA = {
    "model_type": "llama", "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 2, "intermediate_size": 16, "max_position_embeddings": 8, "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}  # fmt: skip


def tiny(**changes) -> GPT:
    torch.manual_seed(0)
    return GPT(**({"vocab_size": 20, "seq_len": 8, "n_layer": 1, "n_head": 2, "n_embd": 8} | changes))


def folder_with(tmp_path, **config):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | config))
    return tmp_path


class WritesAFile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    torch.save({"weight": WritesAFile(str(tmp_path / "written"))}, tmp_path / "pytorch_model.bin")
    with pytest.raises(RequestError, match="holds code, which is refused"):
        read_tensors(tmp_path)
    assert not (tmp_path / "written").exists()
    torch.save({"weight": WritesAFile(str(tmp_path / "written"))}, tmp_path / "model_000001.pt")
    (tmp_path / "meta_000001.json").write_text('{"model_config": {"n_embd": 8, "n_head": 2}}')
    with pytest.raises(RequestError, match="holds code"):
        nanochat.read(tmp_path)
    assert not (tmp_path / "written").exists()


def test_a_plain_pickle_is_read(tmp_path):
    torch.save({"weight": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    assert read_tensors(tmp_path)["weight"].tolist() == [1, 1]


def test_shards_are_put_together_and_a_missing_one_is_named(tmp_path):
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for i, name in enumerate(names):
        save_file({f"w{i}": torch.full((2,), float(i))}, tmp_path / name)
    index = {"weight_map": {f"w{i}": name for i, name in enumerate(names)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert {k: v.tolist() for k, v in read_tensors(tmp_path).items()} == {"w0": [0, 0], "w1": [1, 1]}
    (tmp_path / names[1]).unlink()
    with pytest.raises(RequestError, match=f"lacks 1 of 2 shards: {names[1]}"):
        read_tensors(tmp_path)


@pytest.mark.parametrize("name", [3, None, "../model.safetensors", "/etc/passwd", "", "..", ["a"]])
def test_an_index_that_names_what_is_no_file_beside_it_is_refused(tmp_path, name):
    (tmp_path / "in").mkdir()
    save_file({"w": torch.ones(2)}, tmp_path / "model.safetensors")
    (tmp_path / "in/model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name, "v": "a"}}))
    with pytest.raises(
        RequestError, match=r"index\.json is damaged: (weight_map names .*no file|it has no weight_map)"
    ):
        read_tensors(tmp_path / "in")


def test_a_corrupt_safetensors_file_is_refused(tmp_path):
    save_file({"w": torch.ones(100)}, tmp_path / "model.safetensors")
    whole = (tmp_path / "model.safetensors").read_bytes()
    for damaged in (whole[:50], whole[:-7], b"not at all"):
        (tmp_path / "model.safetensors").write_bytes(damaged)
        with pytest.raises(RequestError, match="cannot be read as safetensors"):
            read_tensors(tmp_path)


def test_no_weights_at_all(tmp_path):
    with pytest.raises(RequestError, match=r"no weights: expected one of model\.safetensors"):
        read_tensors(tmp_path)


def test_an_unknown_family_lists_those_known(tmp_path):
    with pytest.raises(RequestError, match=r'"mamba": .*Known: gpt2, llama, mistral, qwen2.*olmoe'):
        model_section(folder_with(tmp_path, model_type="mamba"))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"hidden_act": "relu"}, "hidden_act=relu"),
        ({"attention_bias": True}, "attention_bias=True"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_type=dynamic"),
    ],
)
def test_a_setting_that_we_do_not_have_is_named(tmp_path, config, says):
    with pytest.raises(RequestError, match=says):
        model_section(folder_with(tmp_path, **config))


def test_old_and_new_ways_to_write_rope(tmp_path):
    old = model_section(folder_with(tmp_path, rope_theta=5e5, rope_scaling={"type": "linear", "factor": 2.0}))
    new = model_section(folder_with(
        tmp_path, rope_parameters={"rope_type": "linear", "rope_theta": 5e5, "factor": 2.0}
    ))  # fmt: skip
    assert old == new
    assert (old["rope_theta"], old["rope_scaling"], old["rope_factor"]) == (5e5, "linear", 2.0)


def test_other_shapes_are_refused_with_both_named():
    with pytest.raises(RequestError, match=r"attention.qkv.weight: \(24, 8\) in x, \(48, 16\) in the model"):
        fill(tiny(n_embd=16), tiny().state_dict(), source="x")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.int(), r"x: position\.weight is of int32: weights are real numbers"),
        (lambda t: t.to(torch.complex64), r"x: position\.weight is of complex64: weights are real"),
        (lambda t: t * float("nan"), r"x: 1 of \d+ weights hold nan \(position\.weight\)"),
    ],
    ids=["whole", "complex", "nan"],
)
def test_weights_that_are_no_numbers_are_refused(change, told):
    state = tiny().state_dict()
    with pytest.raises(RequestError, match=told):
        fill(tiny(), state | {"position.weight": change(state["position.weight"])}, source="x")
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    assert fill(tiny(), half, source="x").loaded


def test_strict_refuses_what_is_missing_or_too_much_and_else_reports_it():
    state = tiny(n_layer=2).state_dict()
    with pytest.raises(RequestError, match=r"blocks.1.*only in x"):
        fill(tiny(), state, source="x")
    state = tiny().state_dict()
    del state["blocks.0.norm1.weight"]
    with pytest.raises(RequestError, match=r"norm1.weight: only in the model"):
        fill(tiny(), state, source="x")
    report = fill(tiny(), state | {"odd": torch.ones(1)}, source="x", strict=False)
    assert (report.missing, report.unexpected) == (["blocks.0.norm1.weight"], ["odd"])
    assert any("left at random" in line and "norm1" in line for line in report.lines())


def test_N25_a_larger_vocabulary_keeps_rows_and_ties():
    source, model = tiny(), tiny(vocab_size=23)
    with pytest.raises(RequestError, match=r"vocabulary of 20, this tokenizer one of 23"):
        fill(model, source.state_dict(), source="x")
    report = fill(model, source.state_dict(), source="x", resize=True)
    assert model.lm_head.weight is model.embed.weight
    assert torch.equal(model.embed.weight[:20], source.embed.weight)
    assert torch.allclose(model.embed.weight[20:], source.embed.weight.mean(0).expand(3, -1))
    assert report.resized == ["embed.weight", "lm_head.weight"]
    assert torch.equal(resized(torch.arange(6.0).view(3, 2), 2), torch.arange(4.0).view(2, 2))


def test_a_head_of_its_own_is_not_lost_in_a_tied_model():
    untied = Transformer(vocab_size=20, seq_len=8, n_layer=1, n_head=2, n_embd=8)
    tied = Transformer(vocab_size=20, seq_len=8, n_layer=1, n_head=2, n_embd=8, tied=True)
    with pytest.raises(RequestError, match="would be lost"):
        fill(tied, untied.state_dict(), source="x")
    state = tied.state_dict()
    del state["lm_head.weight"]
    assert fill(untied, state, source="x").retied == ["lm_head.weight"]
    assert torch.equal(untied.lm_head.weight, tied.embed.weight)


def test_a_head_that_a_foreign_folder_lacks_is_missing_unless_it_ties(tmp_path):
    settings = {"vocab_size": 20, "seq_len": 8, "n_layer": 1, "n_head": 2, "n_embd": 8, "n_inner": 16, "norm": "rms"}
    source, model = (Transformer(**settings, mlp="swiglu", position="rope", tied=tied) for tied in (True, False))
    tensors = {name: w for name, w in source.state_dict().items() if name != "lm_head.weight"}
    save_file(to_theirs(tensors, FAMILIES["llama"]), tmp_path / "model.safetensors")
    for changes in ({}, {"tie_word_embeddings": False}):
        folder_with(tmp_path, **changes)
        with pytest.raises(RequestError, match=r"lm_head.weight: only in the model"):
            load_weights(model, tmp_path, tell="nothing")
    load_weights(model, tmp_path, strict=False, tell="nothing")
    assert not torch.equal(model.lm_head.weight, source.embed.weight)
    folder_with(tmp_path, tie_word_embeddings=True)
    load_weights(model, tmp_path, tell="nothing")
    assert torch.equal(model.lm_head.weight, source.embed.weight)


def test_a_shorter_context_keeps_the_first_positions():
    source, model = tiny(), tiny(seq_len=4)
    assert fill(model, source.state_dict(), source="x").resized == ["position.weight"]
    assert torch.equal(model.position.weight, source.position.weight[:4])


def test_what_no_family_can_express_is_refused_by_key():
    model = Transformer(vocab_size=20, seq_len=8, n_layer=1, n_head=2, n_embd=8, softcap=15.0)
    section = {"_target_": "models.transformer.Transformer", "softcap": 15.0, "n_head": 2, "n_embd": 8}
    with pytest.raises(RequestError, match=r"model.softcap=15.0"):
        config_of(settings_of(model, section))


def test_nanochat_weights_give_its_own_formulas(tmp_path):
    """Attention and MLP written as nanochat does: rotation by minus the angle, then the norm."""
    torch.manual_seed(0)
    C, H, D, T, V = 16, 2, 8, 5, 20
    shapes = {"transformer.wte.weight": (V, C), "lm_head.weight": (V, C)}
    shapes |= {f"transformer.h.0.attn.c_{x}.weight": (C, C) for x in ("q", "k", "v", "proj")}
    shapes |= {"transformer.h.0.mlp.c_fc.weight": (4 * C, C), "transformer.h.0.mlp.c_proj.weight": (C, 4 * C)}
    w = {name: torch.randn(shape) * 0.5 for name, shape in shapes.items()}
    torch.save({f"_orig_mod.{name}": value for name, value in w.items()}, tmp_path / "model_000002.pt")
    config = {"sequence_len": 8, "vocab_size": V, "n_layer": 1, "n_head": H, "n_kv_head": H, "n_embd": C}
    (tmp_path / "meta_000002.json").write_text(json.dumps({"step": 2, "model_config": config}))

    section = nanochat.model_section(tmp_path)
    model = Transformer(vocab_size=V, **{k: v for k, v in section.items() if k != "_target_"})
    state, left, _ = nanochat.read(tmp_path)
    fill(model, state, source="x", unexpected=left)
    ids = torch.randint(0, V, (1, T))

    norm = lambda x: torch.nn.functional.rms_norm(x, x.shape[-1:])  # noqa: E731
    angle = torch.outer(torch.arange(T).float(), 10_000.0 ** (-torch.arange(0, D, 2) / D))
    cos, sin = angle.cos(), angle.sin()

    def heads(x, name, turn):
        x = (x @ w[f"transformer.h.0.attn.c_{name}.weight"].T).view(T, H, D).transpose(0, 1)
        a, b = x[..., : D // 2], x[..., D // 2 :]
        return norm(torch.cat([a * cos + b * sin, b * cos - a * sin], -1)) if turn else x

    x = norm(w["transformer.wte.weight"][ids[0]])
    y = norm(x)
    q, k, v = heads(y, "q", True), heads(y, "k", True), heads(y, "v", False)
    scores = (q @ k.mT / D**0.5).masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf).softmax(-1)
    x = x + (scores @ v).transpose(0, 1).reshape(T, C) @ w["transformer.h.0.attn.c_proj.weight"].T
    h = (norm(x) @ w["transformer.h.0.mlp.c_fc.weight"].T).relu().square()
    x = x + h @ w["transformer.h.0.mlp.c_proj.weight"].T
    expected = 15 * torch.tanh(norm(x) @ w["lm_head.weight"].T / 15)
    assert (model(ids, logits="all").logits[0] - expected).abs().max() < 1e-4
