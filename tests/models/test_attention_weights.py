"""Attention weights on request: those that are used, for every model, and nothing changes by asking."""

import pytest
import torch

from errors import RequestError
from models.adapters.lora import lora
from models.boosting.ensemble import Boosted
from models.boosting.learners.bias import Bias
from models.boosting.plan import Plan
from models.gpt import GPT
from models.heads import RewardModel
from models.hf import HFModel, attentions
from models.ngram_gpt import NGramGPT

SIZES = {"vocab_size": 20, "seq_len": 8, "n_layer": 2, "n_head": 2, "n_embd": 8}
NGRAMS = {"mlp_ratio": 2, "ngram_orders": [2], "ngram_rows": 16, "rope_base": 100.0, "softcap": None}


def gpt(**changes):
    torch.manual_seed(0)
    return spread(GPT(**SIZES, **changes))


def ngram_gpt():
    torch.manual_seed(0)
    return spread(NGramGPT(**SIZES, **NGRAMS, embed_std=1.0, ngram_std=0.1))


def spread(model):
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return model.eval()


@pytest.mark.parametrize("make", [gpt, ngram_gpt, lambda: gpt(checkpoint_blocks=True).train()])
@pytest.mark.parametrize("documents", [None, torch.tensor([[0, 0, 0, 1, 1, 1, 1]] * 2)])
def test_they_are_those_that_are_used(make, documents):
    model, ids, seen = make(), torch.randint(0, 20, (2, 7)), {}
    attention = model.blocks[1].attention
    handles = [
        attention.qkv.register_forward_hook(lambda _, x, qkv: seen.update(v=qkv.chunk(3, -1)[2])),
        attention.proj.register_forward_hook(lambda _, y, out: seen.update(y=y[0])),
    ]
    weights = model.attention_weights(ids, documents_BT=documents)
    for handle in handles:
        handle.remove()
    assert [w.shape for w in weights] == [(2, 2, 7, 7)] * 2
    v = seen["v"].unflatten(-1, (2, 4)).transpose(1, 2)
    torch.testing.assert_close((weights[1] @ v).transpose(1, 2).flatten(2), seen["y"], rtol=1e-4, atol=1e-5)
    if documents is not None:
        assert weights[0][:, :, 3:, :3].abs().max() == 0


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gemma2"])
def test_those_of_transformers_models_are_theirs(kind, tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = {
        "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8,
        "num_key_value_heads": 1, "head_dim": 4, "max_position_embeddings": 8, "bos_token_id": None,
        "eos_token_id": None,
    }  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(kind, **sizes))
    spread(theirs).save_pretrained(tmp_path)
    model, ids = HFModel(vocab_size=20, path=str(tmp_path), seq_len=8).eval(), torch.randint(0, 20, (2, 7))
    before, how = model(ids, logits="all").logits, model.hf.config._attn_implementation
    weights = model.attention_weights(ids)
    theirs.set_attn_implementation("eager")
    for mine, expected in zip(weights, theirs(ids, output_attentions=True).attentions, strict=True):
        torch.testing.assert_close(mine, expected)
    assert model.hf.config._attn_implementation == how
    assert torch.equal(model(ids, logits="all").logits, before)


def test_a_model_without_attention_says_so():
    with pytest.raises(RequestError, match="shows no attention weights"):
        attentions(object())


@torch.no_grad()
def test_models_around_a_model_show_its_weights():
    ids = torch.randint(0, 20, (1, 7))
    plain = gpt()
    expected = plain.attention_weights(ids)
    around = [RewardModel(gpt()), Boosted(base=gpt(), learner=Bias, plan=Plan(stages=2), seed=1)]
    around.append(lora(model=gpt(), rank=2, alpha=4, dropout=0.0, targets="all-linear", rslora=False, dora=False))
    for model in around:
        found = model.eval().attention_weights(ids)
        assert len(found) == 2
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
