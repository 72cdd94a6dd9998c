"""Models of transformers behind our signature: their logits and gradients, documents, padding, cache, generation."""

import pytest
import torch

from errors import RequestError
from models.generation import generate
from models.hf import HFModel
from models.sampling import GREEDY

transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()

SIZES = {
    "vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 24, "max_position_embeddings": 8, "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip
CONFIGS = {
    "gpt2": transformers.GPT2Config(vocab_size=20, n_embd=16, n_layer=2, n_head=4, n_positions=8, resid_pdrop=0.0,
                                    embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=None, eos_token_id=None),
    "llama": transformers.LlamaConfig(**SIZES),
    "mistral": transformers.MistralConfig(**SIZES, sliding_window=3),
    "gemma2": transformers.Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=5.0, sliding_window=3),
    "mixtral": transformers.MixtralConfig(**SIZES, num_local_experts=4),
}  # fmt: skip


@pytest.fixture(params=CONFIGS)
def folder(request, tmp_path):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS[request.param])
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.5)
    model.save_pretrained(tmp_path)
    return tmp_path


def wrapped(folder, **changes):
    return HFModel(**({"vocab_size": 20, "path": str(folder), "seq_len": 8} | changes)).eval()


def test_logits_loss_and_gradients_are_theirs(folder):
    model, ids = wrapped(folder), torch.randint(0, 20, (2, 8))
    reference = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    assert (model(ids, logits="all").logits - reference(ids).logits).abs().max() < 1e-4
    out = reference(ids, labels=ids)
    out.loss.backward()
    targets = torch.cat([ids[:, 1:], torch.full((2, 1), -100)], dim=1)
    loss = model(ids, targets_BT=targets).loss / 14
    loss.backward()
    assert loss.item() == pytest.approx(out.loss.item(), abs=1e-5)
    for mine, theirs in zip(model.hf.parameters(), reference.parameters(), strict=True):
        assert (mine.grad - theirs.grad).norm() <= 1e-3 * theirs.grad.norm() + 1e-7


def test_documents_do_not_see_each_other(folder):
    model = wrapped(folder)
    a, b = torch.randint(0, 20, (1, 3)), torch.randint(0, 20, (1, 4))
    packed = model(torch.cat([a, b], 1), documents_BT=torch.tensor([[0, 0, 0, 1, 1, 1, 1]]), logits="all").logits
    assert torch.allclose(packed[:, :3], model(a, logits="all").logits, atol=1e-4)
    assert torch.allclose(packed[:, 3:], model(b, logits="all").logits, atol=1e-4)


def test_N43_batches_caches_and_sliding_windows_give_what_each_row_gives_alone(folder):
    model, prompts = wrapped(folder), [[3, 1, 4, 1, 5], [9], [2, 6, 5], [3, 5, 8, 9, 7, 9, 3, 2]]
    assert model.has_cache
    run = lambda **s: [r[0].ids for r in generate(model, prompts, max_new_tokens=12, sampling=GREEDY, **s)]  # noqa: E731
    assert run() == run(batch_size=1) == run(use_cache=False, batch_size=1)


def test_a_model_without_keys_and_values_generates_without_a_cache(tmp_path):
    config = transformers.MambaConfig(vocab_size=20, hidden_size=16, num_hidden_layers=1, state_size=4)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    model = wrapped(tmp_path, seq_len=16)
    assert not model.has_cache
    assert len(generate(model, [[1, 2]], max_new_tokens=3)[0][0].ids) == 3


def test_logits_that_are_more_than_the_head_are_refused(tmp_path):
    config = transformers.CohereConfig(**SIZES, logit_scale=0.1, pad_token_id=0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(RequestError, match="does more with its logits"):
        wrapped(tmp_path)


@pytest.mark.parametrize("tied", [True, False])
def test_N25_more_ids_than_rows_keep_the_tie(tmp_path, tied):
    config = transformers.LlamaConfig(**SIZES, tie_word_embeddings=tied)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    model = wrapped(tmp_path, vocab_size=23)
    assert (model.vocab_size, model.head.weight.shape[0]) == (23, 23)
    assert (model.head.weight is model.hf.get_input_embeddings().weight) == tied
    assert wrapped(tmp_path, vocab_size=18).n_ids == 18


def test_a_context_beyond_its_positions_is_refused(folder):
    with pytest.raises(RequestError, match=r"Type model\.seq_len=8"):
        wrapped(folder, seq_len=9)


def test_what_cannot_be_loaded_is_said_in_plain_words(tmp_path):
    with pytest.raises(RequestError, match="cannot be loaded by transformers"):
        wrapped(tmp_path)
