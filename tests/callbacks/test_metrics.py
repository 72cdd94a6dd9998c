"""The share of the machine's peak (F37): FLOPs of the work that was done, worked by hand."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from callbacks.metrics import Metrics, batch_flops
from models.adapters.lora import lora
from models.boosting.ensemble import Boosted
from models.boosting.learners.lora import LoRA
from models.boosting.plan import Plan
from models.gpt import GPT
from models.heads import RewardModel
from models.layers.moe.settings import MoESettings
from models.transformer import Transformer
from tests.small import RandomTokens, make_module, make_trainer, micro

T = 8


def tiny(**settings) -> GPT:
    return GPT(vocab_size=20, seq_len=T, n_layer=2, n_head=2, n_embd=8, **settings)


def multiplied(model: GPT) -> int:
    return sum(p.numel() for p in model.parameters()) - T * 8  # positions are only looked up


def test_F37_prompts_and_padding_pass_through_the_trunk_and_targets_alone_meet_the_head() -> None:
    model = tiny()
    head, attention = 20 * 8, 12 * 2 * 8 * T
    rows = [{"ids": torch.zeros(3, T, dtype=torch.long)}]
    assert batch_flops(model, rows, supervised=5) == 24 * (6 * (multiplied(model) - head) + attention) + 5 * 6 * head
    assert batch_flops(model, rows, supervised=24) == 24 * model.flops_per_token(T), "every token is supervised"


def test_F37_shorter_rows_take_less_attention() -> None:
    model = tiny()
    short = batch_flops(model, [{"ids": torch.zeros(1, 4, dtype=torch.long)}], supervised=4)
    assert short == 4 * (6 * multiplied(model) + 12 * 2 * 8 * 4)


def test_F37_frozen_weights_take_four_and_those_without_gradient_two() -> None:
    model = tiny()
    whole, attention = multiplied(model), 12 * 2 * 8 * T
    adapted = lora(model=tiny(), rank=2, alpha=2, dropout=0.0, targets="all-linear", rslora=False, dora=False)
    own = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert own > 0
    assert adapted.flops_per_token(T) == 4 * whole + 6 * own + attention
    assert model.requires_grad_(False).flops_per_token(T) == 2 * whole + attention // 3
    assert model.head_flops_per_token() == 2 * 20 * 8


def test_F37_experts_that_a_token_is_not_sent_to_do_no_work() -> None:
    moe = MoESettings(n_experts=4, top_k=2, ff=16, router_init_std=0.5)
    model = Transformer(vocab_size=20, seq_len=T, n_layer=2, n_head=2, n_embd=8, moe=moe)
    used = model.parameter_counts()["active"] - model.lookup_parameters()
    attention = model.attention_flops_per_token(T)
    assert model.inactive_parameters() > 0
    assert model.flops_per_token(T) == 6 * used + attention
    for name, weight in model.named_parameters():
        weight.requires_grad_("attention" in name)
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert 0 < learning < used
    assert model.flops_per_token(T) == 4 * used + 2 * learning + attention


def test_F37_the_head_of_the_vocabulary_does_no_work_in_a_reward_model() -> None:
    model = tiny()
    with_score = RewardModel(model)
    assert with_score.flops_per_token(T) == model.flops_per_token(T) - 6 * 20 * 8 + 6 * 8
    assert with_score.head_flops_per_token() == 0


def test_F37_a_boosted_stage_works_with_its_learner_and_the_blocks_it_runs_through() -> None:
    base = tiny()
    model = Boosted(base=base, learner=partial(LoRA, rank=2, top_blocks=1), plan=Plan(stages=2), seed=0)
    block = sum(p.numel() for p in base.blocks[1].parameters())
    own = sum(p.numel() for p in model.learners[0].parameters())
    assert model.flops_per_token(T) == 6 * own + 4 * block + 12 * 8 * T + 4 * 20 * 8


def test_F37_what_was_not_read_is_no_work() -> None:
    """Rows of 6 and 2 tokens, padded to 6, the second one's both the first one's: 6 are read, or 8 if no pair."""
    model = tiny()
    micro = {"ids": torch.zeros(2, 6, dtype=torch.long), "lengths": torch.tensor([6, 2])}
    pair = micro | {"index": torch.zeros(1, dtype=torch.long)}
    per_token = model.flops_per_token(6) - model.head_flops_per_token()
    assert batch_flops(model, [micro], supervised=0) == 8 * per_token
    assert batch_flops(model, [micro, pair], supervised=0) == (8 + 6) * per_token


def test_F37_mfu_is_that_of_all_positions(tmp_path, monkeypatch) -> None:
    """Half of the targets masked: half the supervised tokens a second, but nearly the same work."""
    monkeypatch.setattr("callbacks.metrics.peak_flops", lambda device: 1e9)

    def masked(step: int):
        batch = micro(step, 0)
        targets = batch["targets"].clone()
        targets[:, ::2] = -100
        return [batch | {"targets": targets}]

    seen: list[tuple[float, float]] = []

    class Noted(Metrics):
        def _log(self, trainer, module, metrics):
            if "train/mfu" in metrics:
                per_token = metrics["train/mfu"] * 1e9 / metrics["train/tokens_per_second"]
                seen.append((per_token, batch_flops(module.model, masked(0), supervised=8) / 8))

    module = make_module()
    make_trainer(tmp_path, max_steps=1, callbacks=[Noted(log_every=1)]).fit(module, RandomTokens(masked))
    assert seen
    assert all(found == pytest.approx(wanted) for found, wanted in seen), "16 positions of work a step, 8 targets"


@pytest.mark.parametrize(("later", "speed"), [(False, 100.0), (True, 300 / 5)])
def test_updates_that_are_settled_later_have_a_speed_together_and_none_by_themselves(later, speed) -> None:
    """Two that cost a GPU's launches alone, and the logged one, which waits for all three."""
    metrics = Metrics(log_every=3)
    metrics._peak = 1000.0
    metrics._recent = [(100, 1.0), (100, 1.0), (100, 3.0)]
    metrics._work = [500.0 / 3.0] if later else [500.0, 500.0, 500.0 / 3.0]  # 500 FLOPs an update
    module = SimpleNamespace(settles_later=later, measured=SimpleNamespace(train={}, tokens_seen=300))
    metrics._log_training(SimpleNamespace(loggers=[], global_step=3), module)
    assert metrics.latest["train/tokens_per_second"] == pytest.approx(speed)
    assert metrics.latest["train/mfu"] == pytest.approx(5 * speed / 1000)
