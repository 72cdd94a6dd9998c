"""Mixtures of experts under every objective: padding is sent to no expert, and all of them learn."""

import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from datamodules.batching.packed import PackedSteps, pack_documents
from datamodules.preparing.token_files import TokenFile
from lightning_modules.causal_lm import CausalLMModule
from lightning_modules.dpo import DPOModule
from lightning_modules.reward import RewardModule
from models.layers.moe.settings import MoESettings
from models.transformer import Transformer
from tests.pairs import VOCAB, PairData, adam, as_pairs, make_pairs, train


def mixture(**settings):
    torch.manual_seed(0)
    moe = MoESettings(**({"n_experts": 4, "top_k": 2, "ff": 16, "router_init_std": 0.5} | settings))
    return Transformer(vocab_size=VOCAB, seq_len=24, n_layer=2, n_head=2, n_embd=16, moe=moe)


def packed(folder):
    """One batch of documents of 5, 3 and 6 tokens side by side in rows of 8: 11 targets, 5 places of padding."""
    np.arange(14, dtype="<u2").tofile(folder / "train.bin")
    tokens, rows = TokenFile([folder / "train.bin"], "uint16"), pack_documents(np.array([5, 8, 14]), 8)
    order = SimpleNamespace(starts=lambda step, n: np.arange(n))
    steps = PackedSteps(tokens, rows, order, batch_size=2, pad=19)
    return steps[0][0]


def test_S15_padding_behind_packed_documents_is_sent_to_no_expert(tmp_path):
    micro, module = packed(tmp_path), CausalLMModule(model=mixture())
    assert int((micro["targets"] != -100).sum()) == int(micro["padding"].sum()) == 11
    before = module.loss(micro)
    assert before.stats["moe/tokens"].tolist() == [11, 11]
    assert before.stats["moe/loads"].sum(1).tolist() == [22, 22]
    micro["ids"][~micro["padding"]] = 7
    after = module.loss(micro)
    torch.testing.assert_close((after.loss, after.aux), (before.loss, before.aux))


def dpo(model, folder, **settings):
    return DPOModule(model=model, loss_type="sigmoid", cache_dir=str(folder), **({"beta": 0.1} | settings))


def reward(model, folder, **settings):
    return RewardModule(model=RewardModule.prepare_model(model), **settings)


@pytest.mark.parametrize("objective", [dpo, reward])
def test_S15_S16_pairs_train_all_experts_and_their_router(tmp_path, objective):
    data = PairData(make_pairs(8), batch_size=4)
    module = objective(mixture(), tmp_path, optimizer=partial(adam, lr=1e-2))
    start = {name: p.detach().clone() for name, p in module.model.named_parameters()}
    train(tmp_path, module, data, steps=4)
    still = [n for n, p in module.model.named_parameters() if torch.equal(p, start[n]) and "lm_head" not in n]
    assert still == []
    micro = data.steps()[0][0]
    assert module.measured.stats["moe/tokens"].tolist() == [float(data.steps()[3][0]["lengths"].sum())] * 2
    module.eval()
    out = module.loss(micro)
    assert out.aux.keys() == {"load_balance", "router_z"}
    micro["ids"][torch.arange(micro["ids"].shape[1]) >= micro["lengths"].unsqueeze(1)] = 5
    torch.testing.assert_close((module.loss(micro).loss, module.loss(micro).aux), (out.loss, out.aux))


@pytest.mark.parametrize("settings", [{"noisy": True}, {"jitter": 0.3}, {"capacity_factor": 0.5}], ids=str)
@pytest.mark.parametrize("reference", ["cached", "online"])
def test_S17_a_policy_that_explores_by_chance_keeps_still(tmp_path, settings, reference):
    model = mixture(**settings)
    for moe in model.experts.values():
        if moe.noise is not None:
            torch.nn.init.normal_(moe.noise)
    module = dpo(model, tmp_path, beta=1.0, reference=reference, optimizer=partial(adam, lr=0.0))
    train(tmp_path, module, PairData(make_pairs(8), batch_size=4), steps=1)
    assert module.train().loss(as_pairs(make_pairs(8)).micro(range(4))).loss.item() / 4 == pytest.approx(
        math.log(2), abs=1e-5
    )
