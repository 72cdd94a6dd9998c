"""What need not be read is left out, padding and what a pair begins with twice; loss and gradients stay what they were.

In float64, where sums in another order differ by some 1e-15 of their size.
"""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from batch import IGNORE
from datamodules.batching.example_batches import padded
from lightning_modules.dpo import DPOModule
from lightning_modules.kto import KTOModule
from lightning_modules.reward import RewardModule
from lightning_modules.sft import SFTModule
from models.base import LanguageModel, Output
from models.gpt import GPT
from models.heads import RewardModel
from models.layers.compact import compacted, firsts
from models.layers.moe.settings import MoESettings
from models.ngram_gpt import NGramGPT
from models.seq2seq import T5
from models.transformer import Transformer
from tests.pairs import VOCAB, as_pairs, make_pairs
from tokenization.chat import Rendered

SIZES: dict[str, Any] = {"vocab_size": VOCAB, "seq_len": 24, "n_layer": 2, "n_head": 4, "n_embd": 32}
NGRAMS = {"mlp_ratio": 2, "ngram_orders": [2, 3], "ngram_rows": 64, "rope_base": 100.0, "embed_std": 0.3}
NANOCHAT = {"lambdas": True, "smear": True, "value_embeds": True, "backout": True, "qk_norm": "weightless"}
MODELS: dict[str, tuple[type[LanguageModel], dict[str, Any]]] = {
    "learned positions, biases": (GPT, {}),
    "recomputed blocks": (GPT, {"checkpoint_blocks": True}),
    "n-grams": (NGramGPT, NGRAMS | {"softcap": 15.0, "ngram_std": 0.3}),
    "rotary": (Transformer, {}),
    "rotary, recomputed blocks": (Transformer, {"checkpoint_blocks": True}),
    "grouped heads, full norm": (Transformer, {"n_kv_head": 2, "qk_norm": "full"}),
    "window": (Transformer, {"window": 5, "n_kv_head": 2}),
    "window in one layer": (Transformer, {"window": 4, "window_layers": [1], "rope_local_theta": 50.0}),
    "learned sinks": (Transformer, {"sinks": "learned", "n_kv_head": 2, "window": 5}),
    "learned positions, tied": (Transformer, {"position": "learned", "norm": "layer", "bias": True, "tied": True}),
    "nanochat": (Transformer, NANOCHAT),
}
models = pytest.mark.parametrize("name", MODELS)


def make(name: str) -> LanguageModel:
    torch.manual_seed(0)
    kind, settings = MODELS[name]
    model = kind(**SIZES, **settings).double()
    for p in model.parameters():  # gains, biases, zeros too: they would hide a mistake
        torch.nn.init.normal_(p, std=0.3)
    return model


def reward_model(name: str) -> LanguageModel:
    model = RewardModel(make(name)).double()
    torch.nn.init.normal_(model.score_head.weight)
    return model


PAIRS = as_pairs(make_pairs(5), margins=[0.1, 0.0, 0.3, 0.0, 0.2]).micro(range(5), fill=1)
CHATS = padded(
    [Rendered(torch.arange(n).numpy() % (VOCAB - 3) + 3, (torch.arange(n) >= n // 2).numpy()) for n in (4, 19, 9, 12)],
    pad=0,
)


def sft(model: LanguageModel) -> Output:
    return SFTModule(model=model).loss(CHATS)


def dpo(model: LanguageModel) -> Output:
    return DPOModule(model=model, loss_type="simpo", beta=2.0, nll_weight=0.5).loss(PAIRS)


def reward(model: LanguageModel) -> Output:
    return RewardModule(model=model, nll_weight=0.5, token_weight=2.0, center_rewards=0.1).loss(PAIRS)


def kto(model: LanguageModel) -> Output:
    module = KTOModule(model=model, beta=0.1, reference="cached", cache_dir="")
    index_P = PAIRS["index"]
    module.reference.table = torch.linspace(-9, -3, 2 * (int(index_P.max()) + 1), dtype=torch.float64).view(-1, 2)
    micro = PAIRS | {"labels": torch.arange(len(index_P)) % 2 == 0}
    with torch.no_grad():
        module.reference_point = module._mismatched(micro)["ratio"].abs() / 100
    return module.loss(micro)


ANSWERS = {0: ([3, 4, 5], [[6, 7, 8], [6], [9, 10]]), 1: ([3, 4, 11, 12], [[5, 6], [7] * 9])}  # question -> answers
ROWS = [(question, [*asked, *ids]) for question, (asked, answers) in ANSWERS.items() for ids in answers]


def grpo(model: LanguageModel) -> Output:
    """Answers to two questions, of which the second one's come first and last."""
    order = [3, 0, 1, 2, 4]
    micro = padded([Rendered(np.array(ROWS[i][1]), np.arange(len(ROWS[i][1])) > 2) for i in order], pad=0)
    micro |= {"asked": torch.tensor([ROWS[i][0] for i in order]) + 7}
    micro["advantages"] = torch.linspace(-1, 2, micro["ids"].numel(), dtype=torch.float64).view_as(micro["ids"])
    nll_BT = model(**model.inputs_of(micro), per_token=True, temperature=0.7).nll_BT
    return Output(nll_BT, loss=(nll_BT * micro["advantages"]).sum(), nll_BT=nll_BT)


def result(loss: Any, model: LanguageModel) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    found = loss(model).loss
    found.backward()
    return found.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@models
@pytest.mark.parametrize("loss", [sft, dpo, kto, reward, grpo])
def test_N28_loss_and_gradients_are_those_of_whole_rows(name, loss, monkeypatch):
    model = reward_model(name) if loss is reward else make(name)
    seen: list[int] = []
    first_block: Any = model.blocks[0]
    first_block.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[:-1].numel()))
    compact = result(loss, model)
    used = sum(seen)
    monkeypatch.setattr(type(model), "compact_of", lambda *_: None)
    seen.clear()
    whole = result(loss, model)
    assert used < 0.9 * sum(seen)  # it was left out
    torch.testing.assert_close(compact, whole, rtol=1e-9, atol=1e-9)


def test_a_pair_and_an_empty_one_by_hand():
    """Rows 7 8 1 2 and 7 8 3: two tokens are shared; what fills up the batch has none."""
    micro = as_pairs([([7, 8], [1, 2], [3])]).micro([0], fill=1)
    compact = compacted(torch.arange(4) < micro["lengths"].unsqueeze(1), micro["ids"], torch.tensor([0, 1, 0, 1]))
    assert compact is not None
    assert compact.place_N.tolist() == [0, 1, 2, 3, 10]
    assert compact.token_BT[0].tolist() == [0, 1, 2, 3]
    assert compact.token_BT[2, :3].tolist() == [0, 1, 4]
    read = compact.tokens(micro["ids"].unsqueeze(2))
    assert read.flatten().tolist() == [7, 8, 1, 2, 3]
    assert compact.rows(read)[2, :3].flatten().tolist() == [7, 8, 3]


def test_answers_to_one_question_begin_alike_wherever_they_stand():
    ids = torch.tensor([[5, 6, 7], [8, 8, 8], [5, 6, 9], [5, 6, 9]])
    first = firsts(torch.tensor([40, 2, 40, 3]))
    assert first.tolist() == [0, 1, 0, 3]
    compact = compacted(torch.ones_like(ids, dtype=torch.bool), ids, first)
    assert compact is not None
    assert compact.place_N.tolist() == [0, 1, 2, 3, 4, 5, 8, 9, 10, 11]  # the last row is of another question
    assert compact.token_BT.tolist() == [[0, 1, 2], [3, 4, 5], [0, 1, 6], [7, 8, 9]]


def test_only_pairs_share_and_only_what_they_begin_with():
    micro = as_pairs([([7, 8], [1, 2], [3, 2]), ([7, 8], [1, 2], [1, 2, 4])]).micro([0, 1])
    real = torch.arange(5) < micro["lengths"].unsqueeze(1)
    pairs, rows = compacted(real, micro["ids"], torch.tensor([0, 1, 0, 1])), compacted(real)
    assert pairs is not None
    assert rows is not None
    assert len(rows.place_N) == 4 + 4 + 4 + 5
    assert len(pairs.place_N) == 4 + 4 + 2 + 1  # the same question twice is read twice, a pair's common answer once


def test_a_batch_of_pairs_is_known_by_its_keys():
    """Five pairs: chosen and rejected answers have no token in common, so that each prompt is read once."""
    real = torch.arange(PAIRS["ids"].shape[1]) < PAIRS["lengths"].unsqueeze(1)
    prompts = (PAIRS["targets"][:6] != IGNORE).int().argmax(1)[:5] + 1
    model = make("rotary")
    assert len(model.inputs_of(PAIRS)["compact"].place_N) == real.sum() - prompts.sum()
    rows = {name: value for name, value in PAIRS.items() if name != "index"}
    assert len(model.inputs_of(rows)["compact"].place_N) == real.sum()


def test_rows_that_fill_the_batch_are_read_as_they_lie():
    assert compacted(torch.ones(2, 8, dtype=torch.bool)) is None
    assert compacted(torch.zeros(2, 8, dtype=torch.bool)) is None  # nor is there anything to leave out of nothing
    assert make("rotary").compact_of({"ids": torch.zeros(2, 8, dtype=torch.long)}) is None


def test_where_tokens_cannot_be_left_out_rows_are_read_whole():
    """Experts count tokens row by row; sink tokens stand in front of rows; an encoder reads whole sources."""
    experts, sinks = {"moe": MoESettings(n_experts=4, top_k=2, ff=16)}, {"sinks": "tokens", "n_sink": 2}
    for model in (Transformer(**SIZES, **experts), Transformer(**SIZES, **sinks), T5(vocab_size=VOCAB)):
        assert "compact" not in model.inputs_of(PAIRS)
        assert "compact" not in model.inputs_of(CHATS)
    model = make("rotary")
    assert "compact" in model.inputs_of(CHATS)
    assert "compact" not in model.inputs_of(CHATS | {"documents": torch.zeros_like(CHATS["ids"])})
    model.compile(backend="eager")
    assert "compact" not in model.inputs_of(CHATS)
