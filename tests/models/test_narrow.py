"""Narrow weights: what is rounded, and how; texts are those of a model that holds the rounded weights in fp32."""

import copy
import platform
import shutil

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from errors import RequestError
from models.beams import beam_search
from models.generation import Memory, generate, stream
from models.layers import narrow as narrow_module
from models.layers.narrow import NarrowLinears, library, narrow, quantised
from models.sampling import GREEDY, Sampling
from models.seq2seq import T5
from models.speculative import Draft
from tests.models.test_continuous import MODELS, served
from tests.models.test_continuous import requests as some_requests
from tests.models.test_generation import RAGGED, ids, naive, tiny, tiny_moe, tiny_transformer
from tests.models.test_speculative import near
from tests.models.test_windows import SYSTEM

KINDS = ["bfloat16", "int8"]
EPS = 2.0**-24  # half a step of fp32, relative
compiled = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler here")


def weights_of(layer: nn.Linear, kind: str) -> torch.Tensor:
    """What the narrow layer's weights are, in float64."""
    if kind == "bfloat16":
        return layer.weight.detach().bfloat16().double()
    whole_NK, scale_N = quantised(layer.weight.detach())
    return whole_NK.double() * scale_N.double().unsqueeze(1)


def rounded(model, kind):
    """A copy that holds the rounded weights; its head is tied no more, and its embedding and routers as they were."""
    made = copy.deepcopy(model).eval()
    for name, layer in made.named_modules():
        if type(layer) is nn.Linear and not name.endswith("router"):
            layer.weight = nn.Parameter(weights_of(layer, kind).float())
    return made


def test_scales_by_hand():
    rows = [[0.0, 0.0, 0.0], [127.0, 1.2, -3.8], [1.0, -254.0, 3.2], [0.0, 1e-6, 0.0]]
    whole, scale = quantised(torch.tensor(rows))
    assert whole.tolist() == [[0, 0, 0], [127, 1, -4], [0, -127, 2], [0, 127, 0]]
    assert scale.tolist() == pytest.approx([1, 1, 2, 1e-6 / 127])
    assert whole.dtype == torch.int8


def test_a_weight_is_off_by_half_a_step_of_its_own_output_at_most():
    layer = nn.Linear(300, 50)
    with torch.no_grad():
        layer.weight.mul_(torch.logspace(-6, 4, 50).unsqueeze(1))  # outputs far apart in size
        layer.weight[7] = 0
        layer.weight[8, 3] = 1e4  # one big weight
    exact = layer.weight.detach().double()
    _, scale_N = quantised(layer.weight.detach())
    step_N = scale_N.double().unsqueeze(1)
    assert (weights_of(layer, "int8") - exact).abs().le(step_N * (0.5 + 256 * EPS)).all()
    assert (weights_of(layer, "bfloat16") - exact).abs().le(exact.abs() * 2.0**-8).all()
    assert weights_of(layer, "int8")[7].count_nonzero() == 0
    assert weights_of(layer, "int8")[8, 3].item() == pytest.approx(1e4, rel=1e-6)


@compiled
@pytest.mark.parametrize("flags", [(), ("-mno-avx512f",)], ids=["as it is", "narrow registers"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 20), (33, 9), (64, 96), (200, 131)], ids=str)
@pytest.mark.parametrize("bias", [False, True])
def test_the_product_is_that_of_the_rounded_weights(kind, shape, bias, flags, monkeypatch):
    """In fp32: K + 2 roundings of each sum, whatever their order."""
    if flags and platform.machine() != "x86_64":
        pytest.skip("one kind of registers here")
    monkeypatch.setattr(narrow_module, "library", lambda: library(*flags))
    torch.manual_seed(0)
    layer, few = nn.Linear(*shape, bias=bias), 13  # rows: 8, 4 and 1, and all fewer
    with torch.no_grad():
        layer.weight[0] *= 1e3
    weight_NK, forward = weights_of(layer, kind), narrow(layer, kind)
    bias_N = layer.bias.detach().double() if bias else torch.zeros(shape[1], dtype=torch.float64)
    for rows in range(1, few + 2):
        x = torch.randn(rows, shape[0])
        size = F.linear(x.abs().double(), weight_NK.abs(), bias_N.abs())
        found = forward(x)
        assert found.dtype == torch.float32
        off = found.double() - F.linear(x.double(), weight_NK, bias_N)
        assert (off.abs() <= (shape[0] + 4) * EPS * size).all()


@compiled
def test_any_shape_of_input_and_number_of_threads():
    layer, x = nn.Linear(32, 40), torch.randn(2, 3, 64)[..., :32]  # not contiguous
    forward, before = narrow(layer, "int8"), torch.get_num_threads()
    found = forward(x)
    assert found.shape == (2, 3, 40)
    torch.testing.assert_close(forward(x.contiguous()), found, rtol=0, atol=0)
    torch.testing.assert_close(forward(x.transpose(0, 1)).transpose(0, 1), found, rtol=1e-5, atol=1e-5)
    try:
        torch.set_num_threads(3)
        torch.testing.assert_close(forward(x), found, rtol=0, atol=0)  # a sum is one thread's
    finally:
        torch.set_num_threads(before)


@compiled
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("new", [3, 30], ids=["inside the context", "far past it"])
def test_texts_are_those_of_the_rounded_weights(kind, make, new):
    model = make().eval()
    twin = rounded(model, kind)
    expected = [[naive(twin, prompt, new)] for prompt in RAGGED]
    settings = {"max_new_tokens": new, "sampling": GREEDY}
    with NarrowLinears(model, kind).active():
        assert ids(generate(model, RAGGED, **settings)) == expected
        assert ids(generate(model, RAGGED, batch_size=1, **settings)) == expected
        assert ids(generate(model, RAGGED, use_cache=False, **settings)) == expected
        assert [[[t.id for t in stream(model, prompt, **settings)]] for prompt in RAGGED] == expected


@compiled
@pytest.mark.parametrize("kind", KINDS)
def test_beams_draws_drafts_turns_and_served_rows_too(kind):
    model = tiny(seq_len=64).eval()
    twin, layers = rounded(model, kind), NarrowLinears(model, kind)
    with layers.active():
        search = {"max_new_tokens": 8, "beams": 3, "n": 2}
        assert ids(beam_search(model, RAGGED, **search)) == ids(beam_search(twin, RAGGED, **search))
        how = {"max_new_tokens": 40, "sampling": Sampling(0.7, top_k=5, repetition_penalty=1.2), "n": 2, "seed": 3}
        assert ids(generate(model, RAGGED, **how)) == ids(generate(twin, RAGGED, **how))
        other = near(tiny(seq_len=64))
        with NarrowLinears(other, kind).active():
            draft = Draft(other, 3)
            how = {"max_new_tokens": 40, "sampling": GREEDY}
            assert ids(generate(model, RAGGED, draft=draft, **how)) == ids(generate(twin, RAGGED, **how))
            assert draft.accepted > 0
        memory, text = Memory(), [*SYSTEM]
        for question in ([1], [7, 7, 2]):
            text += question
            answer = [t.id for t in stream(model, text, max_new_tokens=6, sampling=GREEDY, memory=memory)]
            assert answer == naive(twin, text, 6)
            text += answer
    model, wanted = tiny().eval(), some_requests(6)
    expected = served(rounded(model, kind), wanted, 2)
    with NarrowLinears(model, kind).active():
        found = served(model, wanted, 2)
    assert {row: [t.id for t in tokens] for row, tokens in found.items()} == {
        row: [t.id for t in tokens] for row, tokens in expected.items()
    }


@compiled
def test_what_is_packed_for_a_text_leaves_narrow_layers_alone_and_nothing_stays():
    model = tiny().eval()
    names, before = list(model.state_dict()), model(torch.tensor([[1, 2]]), logits="all").logits
    layers = NarrowLinears(model, "int8")
    layers.put()
    own = [layer.__dict__["forward"] for layer in model.modules() if type(layer) is nn.Linear]
    generate(model, [[1, 2]], max_new_tokens=20, sampling=GREEDY)  # as many as make packing worthwhile
    assert [layer.__dict__["forward"] for layer in model.modules() if type(layer) is nn.Linear] == own
    assert list(model.state_dict()) == names
    layers.take_away()
    assert torch.equal(model(torch.tensor([[1, 2]]), logits="all").logits, before)
    assert layers.weights == sum(m.weight.numel() for m in model.modules() if type(m) is nn.Linear)


@compiled
def test_what_chooses_experts_stays_as_it_is():
    model = tiny_moe()
    with NarrowLinears(model, "int8").active():
        there = {name for name, m in model.named_modules() if "forward" in m.__dict__}
    assert "blocks.0.mlp.router" not in there
    assert {"lm_head", "blocks.0.attention.q", "blocks.1.attention.proj"} <= there


def test_what_it_cannot_serve_is_refused_in_words(monkeypatch):
    t5 = T5(vocab_size=20, seq_len=8, n_layer=1, n_head=2, n_embd=8)
    with pytest.raises(RequestError, match="encoder-decoder"):
        NarrowLinears(t5, "int8")
    with pytest.raises(RequestError, match="serves a CPU, and this model is on meta"):
        NarrowLinears(tiny().to("meta"), "int8")
    with pytest.raises(RequestError, match="no linear layer of fp32 weights"):
        NarrowLinears(tiny_transformer().bfloat16(), "bfloat16")
    library.cache_clear()
    monkeypatch.setattr(narrow_module.shutil, "which", lambda name: None)
    with pytest.raises(RequestError, match="no C compiler"):
        NarrowLinears(tiny(), "int8")


@compiled
def test_a_compiler_that_fails_is_quoted(monkeypatch, tmp_path):
    library.cache_clear()
    (tmp_path / "broken.c").write_text("this is no C;")
    monkeypatch.setattr(narrow_module, "SOURCE", tmp_path / "broken.c")
    with pytest.raises(RequestError, match=r"cannot compile .*broken\.c:\n.*error"):
        NarrowLinears(tiny(), "int8")
