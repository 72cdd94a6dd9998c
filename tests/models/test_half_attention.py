"""Attention of a bf16 update: float64's output and gradients, as near as bf16 holds them, whatever a query may see."""

import copy

import pytest
import torch
import torch.nn.functional as F

from models.gpt import GPT
from models.layers import attention, half_attention
from models.layers.attention import attention_mask, fused_attention
from models.transformer import Transformer

HALF = 2.0**-8  # what rounding to bf16 may change a number by, as a share
CPU = torch.device("cpu")


def tensors(B=2, H=4, K=4, T=13, S=None, D=8):
    """q, k, v in bf16, and the slope of the output."""
    make = torch.Generator().manual_seed(0)
    shapes = (B, H, T, D), (B, K, S or T, D), (B, K, S or T, D), (B, H, T, D)
    return [torch.randn(*shape, generator=make).bfloat16() for shape in shapes]


def exact(q, k, v, slope, mask_BTS):
    q, k, v = (x.double().requires_grad_() for x in (q, k, v))
    mask = None if mask_BTS is None else mask_BTS.unsqueeze(1)
    y = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=q.shape[1] != k.shape[1]
    )
    y.backward(slope.double())
    return [y.detach(), q.grad, k.grad, v.grad]


def ours(q, k, v, slope, mask_BTS):
    q, k, v = (x.clone().requires_grad_() for x in (q, k, v))
    y = half_attention.half_attention(q, k, v, mask_BTS, q.shape[-1] ** -0.5)
    y.backward(slope)
    return [y.detach(), q.grad, k.grad, v.grad]


DOCUMENTS = torch.tensor([[0] * 5 + [1] * 8, [0] * 9 + [1] * 4])
REAL = torch.arange(13) < torch.tensor([[13], [6]])
MASKS = {
    "causal": lambda: None,
    "documents": lambda: attention_mask(13, 13, documents_BT=DOCUMENTS, padding_BT=None, device=CPU),
    "padding": lambda: attention_mask(13, 13, documents_BT=None, padding_BT=REAL, device=CPU),
    "window": lambda: attention_mask(13, 13, documents_BT=None, padding_BT=None, device=CPU, window=3),
    "window, first seen": lambda: attention_mask(
        13, 13, documents_BT=None, padding_BT=None, device=CPU, window=3, n_sink=2
    ),
}


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("queries", [4, 128])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize("mask", MASKS)
def test_output_and_gradients_are_those_of_float64(mask, heads, queries, kept, monkeypatch):
    """Block by block or at once, probabilities kept or computed again. Rounded are P, its slope, and what comes out."""
    monkeypatch.setattr(half_attention, "QUERIES", queries)
    monkeypatch.setattr(half_attention, "KEPT", 2**23 if kept else 0)
    given = tensors(H=heads[0], K=heads[1])
    mask_BTS = MASKS[mask]()
    for found, wanted in zip(ours(*given, mask_BTS), exact(*given, mask_BTS), strict=True):
        assert found.dtype == torch.bfloat16
        assert (found - wanted).norm() < 2 * HALF * wanted.norm()


@pytest.mark.parametrize("documents", [False, True])
def test_several_blocks_of_their_real_size(documents):
    """300 tokens of strided queries, and of keys that lie in one tensor with the values, as layers make them."""
    q, _, _, slope = tensors(T=300)
    both = torch.randn(2, 300, 2, 2, 8, generator=torch.Generator().manual_seed(3)).bfloat16()
    k, v = both.permute(2, 0, 3, 1, 4)
    q = q.transpose(1, 2).contiguous().transpose(1, 2)
    of = (torch.arange(300) // 140).expand(2, -1) if documents else None
    mask_BTS = attention_mask(300, 300, documents_BT=of, padding_BT=None, device=CPU)
    for found, wanted in zip(ours(q, k, v, slope, mask_BTS), exact(q, k, v, slope, mask_BTS), strict=True):
        assert (found - wanted).norm() < 2 * HALF * wanted.norm()


def test_new_tokens_behind_others_see_them():
    """Prefill of a text whose beginning is in the cache: 5 queries, 13 keys."""
    given = tensors(T=5, S=13)
    mask_BTS = attention_mask(5, 13, documents_BT=None, padding_BT=None, device=CPU)
    for found, wanted in zip(ours(*given, mask_BTS), exact(*given, mask_BTS), strict=True):
        assert (found - wanted).norm() < 2 * HALF * wanted.norm()


def test_large_scores_are_not_rounded():
    """Scores 300 and 299, between which bf16 knows no number: the second query gives e / (e + 1) to the first key."""
    q = torch.ones(1, 1, 2, 8).bfloat16()
    k = torch.full((1, 1, 2, 8), 37.5).bfloat16()
    k[0, 0, 1, 0] = 36.5
    v = torch.tensor([1.0, 0.0]).view(1, 1, 2, 1).expand(1, 1, 2, 8).bfloat16()
    found = half_attention.half_attention(q, k, v, None, 1.0)
    assert torch.allclose(found[0, 0, 1].float(), torch.tensor(0.7311), atol=HALF)


def test_a_block_reads_only_the_keys_that_its_queries_see(monkeypatch):
    """Window of 3: queries 4 to 7 see keys 2 to 7; causal: all up to their own."""
    monkeypatch.setattr(half_attention, "QUERIES", 4)
    found = half_attention.blocks(13, 13, MASKS["window"](), CPU)
    assert [block[:4] for block in found] == [(0, 4, 0, 4), (4, 8, 2, 8), (8, 12, 6, 12), (12, 13, 10, 13)]
    found = list(half_attention.blocks(6, 6, None, CPU))
    assert [block[:4] for block in found] == [(0, 4, 0, 4), (4, 6, 0, 6)]
    assert found[1].mask.tolist() == [[[True, True, True, True, True, False], [True] * 6]]


def test_fp32_products_elsewhere_stay_what_they_were():
    settings = torch.backends.mkldnn.matmul
    before = settings.fp32_precision
    try:
        settings.fp32_precision = "ieee"
        with half_attention.exact_scores():
            assert settings.fp32_precision == "bf16"
        assert settings.fp32_precision == "ieee"
        with pytest.raises(ZeroDivisionError), half_attention.exact_scores():
            _ = 1 / 0
        assert settings.fp32_precision == "ieee"
    finally:
        settings.fp32_precision = before


@pytest.fixture
def taken(monkeypatch):
    """How often it was taken, on a processor that is fast at bf16."""
    calls = []
    real = half_attention.half_attention
    monkeypatch.setattr(attention, "is_fast", lambda: True)
    monkeypatch.setattr(attention, "half_attention", lambda *given: calls.append(1) or real(*given))
    return calls


def test_it_is_for_bf16_updates_alone(taken):
    q, k, v, _ = tensors()
    plain = {"attn_mask": None, "dropout_p": 0.0, "is_causal": True}
    fused_attention(q, k, v, **plain)
    with torch.autocast("cpu", torch.bfloat16):
        fused_attention(q[:, :, :1], k, v, **plain | {"is_causal": False})  # one new token
        fused_attention(q, k, v, **plain | {"dropout_p": 0.1})
        fused_attention(q, k, v, **plain | {"is_causal": False})  # every token sees all
        fused_attention(q, k, v, **plain | {"is_causal": False, "attn_mask": torch.zeros(2, 1, 13, 13)})  # a bias
        fused_attention(q[:0], k[:0], v[:0], **plain)  # no rows
        assert fused_attention(q, k, torch.cat([v, v], -1), **plain).shape == (2, 4, 13, 16)  # wider values
    with torch.autocast("cpu", torch.float16):
        fused_attention(q, k, v, **plain)
    assert not taken
    with torch.autocast("cpu", torch.bfloat16):
        fused_attention(q, k, v, **plain)
    assert taken == [1]


@pytest.mark.parametrize("mask", ["causal", "documents"])
@pytest.mark.parametrize("kind", ["gpt", "grouped", "sinks"])
def test_a_model_learns_the_same(kind, mask, taken, monkeypatch):
    """Loss and gradient under autocast are as far from float64's as with PyTorch's kernel, within a half."""
    torch.manual_seed(0)
    shape = {"vocab_size": 23, "seq_len": 13, "n_layer": 2, "n_head": 4, "n_embd": 32}
    more = {"grouped": {"n_kv_head": 2, "window": 5}, "sinks": {"sinks": "learned"}}
    model = GPT(**shape) if kind == "gpt" else Transformer(**shape, **more[kind])
    ids_BT = torch.randint(0, 23, (2, 13), generator=torch.Generator().manual_seed(2))
    documents_BT = None if mask == "causal" else DOCUMENTS

    def learned(model, *, half=True):
        model = copy.deepcopy(model)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = model(ids_BT, targets_BT=ids_BT.roll(-1, 1), documents_BT=documents_BT).loss
        loss.backward()
        return loss.item(), torch.cat([p.grad.flatten().double() for p in model.parameters()])

    found = learned(model)
    assert len(taken) == 2  # layers
    monkeypatch.setattr(attention, "is_fast", lambda: False)
    plain, wanted = learned(model), learned(copy.deepcopy(model).double(), half=False)
    assert abs(found[0] - wanted[0]) < HALF * wanted[0]
    assert (found[1] - wanted[1]).norm() < 1.5 * (plain[1] - wanted[1]).norm()
