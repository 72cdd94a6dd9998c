"""The GPT family: sizes, parity with transformers' GPT-2, causality, documents, padding, cache, initialisation."""

import math

import pytest
import torch

from errors import RequestError
from models.base import restarting_positions
from models.gpt import GPT
from models.layers.attention import KVCache

SIZES = {
    "gpt2": ((12, 12, 768), 124_439_808),
    "gpt2_medium": ((24, 16, 1024), 354_823_168),
    "gpt2_large": ((36, 20, 1280), 774_030_080),
    "gpt2_xl": ((48, 25, 1600), 1_557_611_200),
}


def tiny(**changes) -> GPT:
    torch.manual_seed(0)
    settings = {"vocab_size": 50, "seq_len": 16, "n_layer": 2, "n_head": 2, "n_embd": 8} | changes
    return GPT(**settings).eval()


def logits(model: GPT, ids: torch.Tensor, **inputs) -> torch.Tensor:
    return model(ids, logits="all", **inputs).logits


@pytest.mark.parametrize("name", SIZES)
def test_parameter_counts_are_gpt2s(name):
    (n_layer, n_head, n_embd), expected = SIZES[name]
    with torch.device("meta"):
        model = GPT(vocab_size=50257, seq_len=1024, n_layer=n_layer, n_head=n_head, n_embd=n_embd)
    assert model.parameter_counts() == {"total": expected, "trainable": expected, "active": expected}


def test_logits_and_gradients_equal_transformers_gpt2():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=16, n_embd=8, n_layer=2, n_head=2, attn_pdrop=0, embd_pdrop=0, resid_pdrop=0
    )
    torch.manual_seed(0)
    theirs = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for p in theirs.parameters():  # biases too: zeros would hide a swap
            p.normal_(std=0.3)
    ours = tiny(gelu="tanh")
    ours.load_state_dict(from_transformers(theirs.state_dict()))
    ids = torch.randint(0, 50, (3, 16))
    expected = theirs(ids).logits
    assert (logits(ours, ids) - expected).abs().max() <= 1e-4

    targets = torch.randint(0, 50, (3, 16))
    torch.nn.functional.cross_entropy(expected.flatten(0, 1), targets.flatten(), reduction="sum").backward()
    ours(ids, targets_BT=targets).loss.backward()
    for mine, other in (
        (ours.embed.weight, theirs.transformer.wte.weight),
        (ours.position.weight, theirs.transformer.wpe.weight),
        (ours.blocks[0].mlp.up.bias, theirs.transformer.h[0].mlp.c_fc.bias),
    ):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-3)


def from_transformers(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """GPT-2's names into ours; its Conv1D keeps weights as (in, out)."""
    renames = {
        "transformer.wte": "embed", "transformer.wpe": "position", "transformer.ln_f": "norm",
        "transformer.h": "blocks",
        "ln_1": "norm1", "ln_2": "norm2", "attn.c_attn": "attention.qkv", "attn.c_proj": "attention.proj",
        "mlp.c_fc": "mlp.up", "mlp.c_proj": "mlp.down",
    }  # fmt: skip
    ours = {}
    for name, value in state.items():
        conv = any(part in name for part in ("c_attn.weight", "c_proj.weight", "c_fc.weight"))
        for old, new in renames.items():
            name = name.replace(old, new)
        ours[name] = value.T if conv else value
    return ours


def test_a_later_token_never_changes_an_earlier_output():
    model, ids = tiny(), torch.randint(0, 50, (1, 16))
    changed = ids.clone()
    changed[0, 9] = (ids[0, 9] + 1) % 50
    before, after = logits(model, ids), logits(model, changed)
    assert torch.equal(before[:, :9], after[:, :9])
    assert not torch.allclose(before[:, 9:], after[:, 9:])


def test_N10_with_document_ids_a_document_is_alone():
    model, ids = tiny(), torch.randint(0, 50, (1, 12))
    documents = torch.tensor([[4] * 5 + [9] * 7])
    together = logits(model, ids, documents_BT=documents)
    torch.testing.assert_close(together[:, :5], logits(model, ids[:, :5]))
    torch.testing.assert_close(together[:, 5:], logits(model, ids[:, 5:]))


def test_positions_restart_at_each_document():
    assert restarting_positions(torch.tensor([[7, 7, 9, 9, 9], [1, 2, 2, 2, 3]])).tolist() == [
        [0, 1, 0, 1, 2],
        [0, 0, 1, 2, 0],
    ]


def test_padding_on_the_right_changes_nothing():
    model, ids = tiny(), torch.randint(0, 50, (2, 10))
    padding = torch.ones(2, 10, dtype=torch.bool)
    padding[:, 7:] = False
    other = ids.clone()
    other[:, 7:] = 3
    a, b = (logits(model, x, padding_BT=padding) for x in (ids, other))
    assert torch.equal(a[:, :7], b[:, :7])
    assert a.isfinite().all()
    torch.testing.assert_close(a[:, :7], logits(model, ids[:, :7]))


def test_cache_equals_no_cache_in_any_pieces():
    model, ids = tiny(), torch.randint(0, 50, (2, 16))
    whole, cache = logits(model, ids), KVCache(2)
    pieces = [logits(model, part, cache=cache) for part in ids.split([5, 1, 4, 1, 5], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole)


def test_gradient_checkpointing_changes_no_gradient():
    ids, targets = torch.randint(0, 50, (2, 16)), torch.randint(0, 50, (2, 16))
    grads = []
    for checkpointing in (False, True):
        model = tiny(checkpoint_blocks=checkpointing).train()
        model(ids, targets_BT=targets).loss.backward()
        grads.append([p.grad for p in model.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_initial_weights_have_the_stated_spread():
    torch.manual_seed(0)
    model = GPT(vocab_size=1000, seq_len=64, n_layer=8, n_head=4, n_embd=128)
    assert model.embed.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert model.blocks[3].attention.qkv.weight.std().item() == pytest.approx(0.02, rel=0.03)
    for residual in (model.blocks[0].attention.proj, model.blocks[7].mlp.down):
        assert residual.weight.std().item() == pytest.approx(0.02 / math.sqrt(16), rel=0.03)
    assert model.blocks[0].mlp.up.bias.abs().max() == 0
    assert model.head.weight is model.embed.weight
    ids = torch.randint(0, 1000, (4, 64))
    loss = model(ids, targets_BT=torch.randint(0, 1000, (4, 64))).loss / 256
    assert loss.item() == pytest.approx(math.log(1000), abs=0.1)


def test_flops_per_token_by_hand():
    model = tiny()  # 12 n_embd^2 + biases and norms per block; attention 12 * layers * channels * T
    multiplied = sum(p.numel() for p in model.parameters()) - 16 * 8  # positions are only looked up
    assert model.flops_per_token(16) == 6 * multiplied + 12 * 2 * 8 * 16


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tiny(n_embd=10, n_head=4), ["n_embd=10", "n_head=4", "n_embd=12"]),
        (lambda: logits(tiny(), torch.zeros(1, 17, dtype=torch.long)), ["17", "16", "seq_len"]),
    ],
)
def test_wrong_requests_say_what_to_type(make, words):
    with pytest.raises(RequestError) as raised:
        make()
    assert all(word in str(raised.value) for word in words)
