"""Which tokens go to which expert: counts by hand, and the weights that a layer really used."""

import pytest
import torch

from evaluation.routing import CLASSES, token_class, usage
from models.layers.moe.layer import MoE
from models.layers.moe.looking import expert_weights
from models.layers.moe.settings import MoESettings
from models.transformer import Transformer


def moe_model(**settings) -> Transformer:
    torch.manual_seed(1)
    moe = MoESettings(n_experts=4, top_k=2, ff=8, router_init_std=1.0, every=2, **settings)
    return Transformer(vocab_size=30, seq_len=16, n_layer=4, n_head=2, n_embd=16, moe=moe)


def test_experts_that_mind_the_class_and_experts_that_do_not() -> None:
    minds = torch.eye(2).repeat(20, 1)  # tokens 0, 1, 0, 1 ... to experts 0, 1, 0, 1 ...
    classes = torch.arange(2).repeat(20)
    found = usage(minds, classes + 5, classes, classes=3)
    assert found.load_E.tolist() == [0.5, 0.5]
    assert found.entropy == pytest.approx(1)
    assert found.information == pytest.approx(1)
    assert found.by_class_KE.tolist() == [[1, 0], [0, 1], [0, 0]]
    assert found.typical == [[(5, 2.0)], [(6, 2.0)]]
    blind = usage(minds, classes, torch.zeros(40, dtype=torch.long), classes=3)
    assert blind.information == pytest.approx(0)


def test_the_weights_are_those_of_the_forward_pass() -> None:
    """The output of a layer, rebuilt from the weights that are shown."""
    model = moe_model().eval()
    seen = {}
    for moe in (m for m in model.modules() if isinstance(m, MoE)):
        moe.register_forward_hook(lambda m, inputs, output: seen.update({m: (inputs[0], output[0])}))
    ids = torch.randint(0, 30, (2, 7))
    shown = expert_weights(model, ids)
    assert len(shown) == len(seen) == 2
    for (n, weights_NE), (moe, (x, y)) in zip(shown.items(), seen.items(), strict=True):
        assert model.blocks[n].mlp is moe
        assert (weights_NE != 0).sum(-1).eq(2).all()
        x_NC = x.flatten(0, 1)
        gate, up = (x_NC @ moe.w13.mT).chunk(2, dim=-1)  # (E, N, I) each
        each_ENC = (torch.nn.functional.silu(gate) * up) @ moe.w2.mT
        rebuilt = torch.einsum("ne,enc->nc", weights_NE, each_ENC)
        assert torch.allclose(rebuilt, y.flatten(0, 1), atol=1e-5)


def test_a_dense_model_has_no_experts() -> None:
    model = Transformer(vocab_size=30, seq_len=16, n_layer=1, n_head=2, n_embd=16)
    assert expert_weights(model, torch.zeros(1, 3, dtype=torch.long)) == {}


@pytest.mark.parametrize(
    ("text", "special", "expected"),
    [(" the", False, "word, its start"), ("ing", False, "word, going on"), ("The", False, "word, its start"),
     ("12", False, "number"), (" ", False, "space"), ("\n\n", False, "line break"), ("<|end|>", True, "control token"),
     (",", False, "punctuation"), ("\ufffd", False, "other")],
)  # fmt: skip
def test_classes_of_tokens(text: str, special: bool, expected: str) -> None:
    assert token_class(text, special=special) == expected
    assert expected in CLASSES
