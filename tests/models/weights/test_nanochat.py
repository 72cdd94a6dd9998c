"""nanochat's model of 2026: its formulas written out naively, padded vocabularies, and what is refused."""

import json
import math
import pickle
from pathlib import Path

import pytest
import torch
from torch.nn.functional import relu, rms_norm

from errors import RequestError
from launcher.cli import main
from launcher.config.instantiate import build
from models.layers.cache import KVCache
from models.weights import foreign, nanochat
from models.weights.filling import fill

C, H, K, L, V, PADDED, T = 32, 4, 2, 3, 50, 64, 9
D = C // H
CONFIG = {"sequence_len": 64, "vocab_size": V, "n_layer": L, "n_head": H, "n_kv_head": K, "n_embd": C,
          "window_pattern": "SL"}  # fmt: skip


def weights(gate: int = 12) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    shapes = {"transformer.wte.weight": (PADDED, C), "lm_head.weight": (PADDED, C), "smear_gate.weight": (1, 24)}
    shapes |= {"resid_lambdas": (L,), "x0_lambdas": (L,), "smear_lambda": (1,), "backout_lambda": (1,)}
    for i in range(L):
        at = f"transformer.h.{i}"
        shapes |= {f"{at}.attn.c_q.weight": (C, C), f"{at}.attn.c_proj.weight": (C, C)}
        shapes |= {f"{at}.attn.c_{x}.weight": (K * D, C) for x in "kv"}
        shapes |= {f"{at}.mlp.c_fc.weight": (4 * C, C), f"{at}.mlp.c_proj.weight": (C, 4 * C)}
        if i % 2 == (L - 1) % 2:
            shapes |= {f"value_embeds.{i}.weight": (PADDED, K * D), f"{at}.attn.ve_gate.weight": (K, gate)}
    return {name: 0.4 * torch.randn(shape) + (0.5 if len(shape) == 1 else 0.0) for name, shape in shapes.items()}


def folder_with(folder, w, **config):
    torch.save({f"_orig_mod.{name}": value for name, value in w.items()}, folder / "model_000002.pt")
    (folder / "meta_000002.json").write_text(json.dumps({"step": 2, "model_config": CONFIG | config}))
    return folder


def loaded(folder):
    model = build(nanochat.model_section(folder), vocab_size=nanochat.vocab_size(folder))
    state, left, reshaped = nanochat.read(folder)
    report = fill(model, state, source="x", unexpected=left, reshaped=reshaped)
    assert not report.missing
    return model.double().eval()


def oracle(w, ids, window):
    """Logits (T, V) of one text, token by token and head by head. `window`: tokens behind, in layers marked S."""
    w = {name: value.double() for name, value in w.items()}
    norm = lambda x: rms_norm(x, x.shape[-1:], eps=2.0**-23)  # noqa: E731 - its own in fp32
    before = norm(w["transformer.wte.weight"][ids])
    x = before.clone()
    for t in range(1, len(ids)):
        gate = w["smear_lambda"] * torch.sigmoid(w["smear_gate.weight"] @ before[t, :24])
        x[t] = before[t] + gate * before[t - 1]
    first = x
    for i in range(L):
        at = f"transformer.h.{i}"
        x = w["resid_lambdas"][i] * x + w["x0_lambdas"][i] * first
        x = x + attention(w, at, i, norm(x), ids, None if i == L - 1 or "SL"[i % 2] == "L" else window, norm)
        x = x + relu(norm(x) @ w[f"{at}.mlp.c_fc.weight"].T).square() @ w[f"{at}.mlp.c_proj.weight"].T
        if i == L // 2:
            middle = x
    x = norm(x - w["backout_lambda"] * middle)
    return 15 * torch.tanh((x @ w["lm_head.weight"][:V].T) / 15)


def attention(w, at, layer, y, ids, window, norm):
    q, k, v = ((y @ w[f"{at}.attn.c_{x}.weight"].T).view(len(ids), -1, D) for x in "qkv")
    if f"value_embeds.{layer}.weight" in w:
        gate = 3 * torch.sigmoid(y[:, :12] @ w[f"{at}.attn.ve_gate.weight"].T)
        v = v + gate[..., None] * w[f"value_embeds.{layer}.weight"][ids].view(len(ids), K, D)
    angle = torch.outer(torch.arange(len(ids)).double(), 100_000.0 ** (-torch.arange(0, D, 2).double() / D))
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]

    def turned(x):
        a, b = x[..., : D // 2], x[..., D // 2 :]
        return 1.2 * norm(torch.cat([a * cos + b * sin, b * cos - a * sin], -1))

    q, k = turned(q), turned(k)
    out = torch.zeros(len(ids), H, D).double()
    for t in range(len(ids)):
        seen = range(0 if window is None else max(0, t - window), t + 1)
        for h in range(H):
            shared = h // (H // K)
            share = torch.stack([q[t, h] @ k[s, shared] / math.sqrt(D) for s in seen]).softmax(0)
            out[t, h] = sum(p * v[s, shared] for p, s in zip(share, seen, strict=True))
    return out.flatten(1) @ w[f"{at}.attn.c_proj.weight"].T


@pytest.fixture
def ids():
    return torch.randint(0, V, (T,), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("tile", [128, 2])
def test_F32_the_model_of_2026_has_its_own_formulas(tile, tmp_path, ids, monkeypatch):
    monkeypatch.setattr(nanochat, "TILE", tile)  # with 2, short windows of 4 tokens behind cut something off
    w = weights()
    folder_with(tmp_path, w, sequence_len=64 if tile == 128 else 16)
    model = loaded(tmp_path)
    window = 128 if tile == 128 else 4
    assert (model.window, model.vocab_size) == (window + 1, V)
    with torch.no_grad():
        found = model(ids[None], logits="all").logits[0]
    assert (found - oracle(w, ids, window)).abs().max() < 1e-5  # tables of angles are fp32


def test_F32_a_cache_padding_and_documents_give_the_same(tmp_path, ids):
    model = loaded(folder_with(tmp_path, weights()))
    with torch.no_grad():
        whole = model(ids[None], logits="all").logits[0]
        cache, parts = KVCache(model.n_layer), []
        for start, end in [(0, 4), (4, 5), (5, 9)]:
            parts.append(model(ids[None, start:end], cache=cache, logits="all").logits[0])
        assert (torch.cat(parts) - whole).abs().max() < 1e-9
        padded, real = torch.nn.functional.pad(ids[None], (3, 0)), torch.ones(1, T + 3, dtype=torch.bool)
        real[:, :3] = False
        assert (model(padded, padding_BT=real, logits="all").logits[0, 3:] - whole).abs().max() < 1e-9
        documents = torch.tensor([[0] * 4 + [1] * 5])
        apart = torch.cat([model(ids[None, :4], logits="all").logits[0], model(ids[None, 4:], logits="all").logits[0]])
        assert (model(ids[None], documents_BT=documents, logits="all").logits[0] - apart).abs().max() < 1e-9
        assert (whole[4:] - apart[4:]).abs().max() > 1e-3


def test_F32_rows_that_pad_the_vocabulary_are_left_out(tmp_path):
    w = weights()
    first = {n: x for n, x in w.items() if n not in nanochat.NEW_NAMES and "value" not in n and "ve_gate" not in n}
    model = loaded(folder_with(tmp_path, first, window_pattern=None))
    assert (model.vocab_size, len(model.embed.weight)) == (V, V)
    assert torch.equal(model.embed.weight.float(), w["transformer.wte.weight"][:V])
    folder_with(tmp_path, first, window_pattern=None, vocab_size=70)
    with pytest.raises(RequestError, match="64 rows, and its meta file says 70"):
        nanochat.read(tmp_path)


@pytest.mark.parametrize(
    ("gate", "without", "config", "says"),
    [
        (32, (), {}, "attn.ve_gate with 12 channels"),
        (12, ("smear_gate.weight", "backout_lambda"), {}, "lack smear_gate.weight, backout_lambda"),
        (12, (), {"window_pattern": "SX"}, "window_pattern=SX"),
        (12, (), {"mtp_n": 2}, "mtp_n=2"),
    ],
)
def test_F32_versions_between_are_refused_by_what_they_lack(gate, without, config, says, tmp_path):
    folder_with(tmp_path, {n: x for n, x in weights(gate).items() if n not in without}, **config)
    with pytest.raises(RequestError, match=says):
        nanochat.model_section(tmp_path)


@pytest.mark.parametrize("place", [".", "tokenizer", "../../tokenizer"])
def test_F32_a_pickled_tokenizer_beside_the_weights_is_taken(place, tmp_path):
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {bytes([i]): i for i in range(256)} | {b"th": 256}
    encoding = tiktoken.Encoding("x", pat_str=r"\w+|\W", mergeable_ranks=ranks, special_tokens={"<|bos|>": 257})
    folder = tmp_path / "base_checkpoints" / "d3"
    folder.mkdir(parents=True)
    folder_with(folder, weights())
    (folder / place).mkdir(exist_ok=True)
    (folder / place / "tokenizer.pkl").write_bytes(pickle.dumps(encoding))
    found = foreign.sections(str(folder))["tokenizer"]
    tokenizer = build(found)
    assert tokenizer.decode(tokenizer.encode("the th")) == "the th"


def test_F32_a_checkpoint_with_its_tokenizer_writes_text(tmp_path, capsys):
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {bytes([i]): i for i in range(256)} | {b"th": 256}
    encoding = tiktoken.Encoding("x", pat_str=r"\w+|\W", mergeable_ranks=ranks, special_tokens={"<|bos|>": 257})
    w = {n: x.repeat(6, 1) if len(x) == PADDED else x for n, x in weights().items()}  # 384 rows
    folder_with(tmp_path, w, vocab_size=258)
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.pkl").write_bytes(pickle.dumps(encoding))
    words = ["task=generate", f"init_from={tmp_path}", "prompt=the th", "max_new_tokens=3", "hardware=cpu"]
    assert main([*words, f"run_dir={tmp_path / 'run'}"], root=Path(__file__).parents[3]) == 0
    assert "the th" in capsys.readouterr().out
