"""Boosting on preference pairs as a run: a start of ln 2, stages that help, exact resume, a reference that stays."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from errors import RequestError
from lightning_modules.boosting_start import check_data, draw_rows
from lightning_modules.dpo import completion_log_probs
from lightning_modules.gbft import GBFTModule
from lightning_modules.reference import cache_key
from models.boosting.ensemble import Boosted
from models.boosting.learners.lora import LoRA
from models.boosting.plan import Plan
from models.boosting.units import is_dev, units_of
from models.gpt import GPT
from models.layers import products
from optimization.adamw import adamw
from tasks.trainer import fit_and_validate
from tests.pairs import VOCAB, PairData, make_pairs
from tests.small import make_trainer

PAIRS = make_pairs(40)


def module_of(folder, *, start=None, **plan) -> GBFTModule:
    torch.manual_seed(0)
    base = GPT(vocab_size=VOCAB, seq_len=24, n_layer=2, n_head=2, n_embd=16)
    settings = {"loss": "dpo", "stages": 2, "steps_per_stage": 6, "eta": 1.0, "dev_fraction": 0.2} | plan
    model = Boosted(base=base, learner=partial(LoRA, rank=4), plan=Plan(**settings), seed=1)
    if start is not None:
        model.load_state_dict(model.accept(start))
    return GBFTModule(
        model=model, strategy="single", adapter=None, cache_dir=str(folder / "cache"), seed=1, grad_clip=1.0,
        optimizer=partial(adamw, lr=3e-2, betas=[0.9, 0.98], eps=1e-8, weight_decay=0.0), log_every=1,
    )  # fmt: skip


def train(folder, module, *, steps=None, resume=False, pairs=PAIRS) -> GBFTModule:
    folder.mkdir(exist_ok=True)
    data = PairData(pairs, batch_size=4)
    units = [unit for step in range(10) for micro in data.steps()[step] for unit in units_of(micro, module.plan)]
    dev = [unit for unit in units if is_dev(unit, 1, module.plan)]
    spare = next(unit for unit in units if not is_dev(unit, 1, module.plan))
    module.use_rows(dev, spare, folder / "states")
    size = module.plan.steps_per_stage
    trainer = make_trainer(folder, max_steps=steps or module.run_length(10**9), val_every=size, checkpoint_every=size)
    fit_and_validate(trainer, module, data, folder / "checkpoints/last.ckpt" if resume else None)
    return module


def weights(module):
    return {name: value.clone() for name, value in module.model.state_dict().items()}


def test_it_starts_at_ln_2_and_each_stage_helps(tmp_path):
    module = train(tmp_path, module_of(tmp_path))
    losses = [record["dev/loss"] for record in module.records]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6)
    assert losses[2] < losses[1] - 1e-3 < losses[0] - 2e-3
    validated = [record["val/loss"] for record in module.records]
    assert validated[0] == pytest.approx(math.log(2), abs=1e-6)
    assert validated[-1] < validated[0] - 0.02  # low ids are preferred to high ones: there is something to learn
    assert module.measured.val["val/rewards/accuracies"] > 0.5
    assert module.records[1]["dev/margin"] > 0
    assert module.measured.train["train/rewards/margins"] > 0


def test_the_base_stays_as_it_was(tmp_path):
    module = module_of(tmp_path)
    before = weights(module)
    after = weights(train(tmp_path, module))
    assert all(torch.equal(value, after[name]) for name, value in before.items() if name.startswith("base."))


def test_N17_stopped_and_resumed_it_is_the_same_run(tmp_path):
    """In the middle of the second stage: the reference is that of the start, not of the first stage."""
    whole = train(tmp_path / "whole", module_of(tmp_path))
    train(tmp_path / "parts", module_of(tmp_path), steps=6)
    resumed = train(tmp_path / "parts", module_of(tmp_path / "elsewhere"), resume=True)
    assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(whole).items())
    drop = ("seconds",)
    cleaned = [[{k: v for k, v in r.items() if k not in drop} for r in m.records] for m in (whole, resumed)]
    assert cleaned[0] == cleaned[1]


def test_further_stages_are_pulled_to_the_ensemble_that_they_begin_with(tmp_path):
    first = train(tmp_path / "first", module_of(tmp_path, stages=1))
    both = module_of(tmp_path, start=weights(first))
    train(tmp_path / "second", both)
    assert both.records[1]["earlier"]
    # what the first stage moved is the start now
    assert both.records[1]["dev/loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert first.records[1]["dev/loss"] < math.log(2) - 1e-3
    assert both.records[2]["dev/loss"] < math.log(2) - 1e-3


@pytest.mark.parametrize(
    "plan",
    [
        {"ensemble": "bagged"},
        {"bag": 2},
        {"space": "weight"},
        {"corrective_steps": 4},
        {"best_every": 2, "average": 0.9},
    ],
)
def test_what_else_a_plan_may_say_goes_with_pairs(plan, tmp_path):
    module = train(tmp_path, module_of(tmp_path, **plan))
    assert module.measured.val["val/loss"] < math.log(2) - 0.005


@pytest.mark.parametrize("space", ["logit", "weight"])
def test_what_a_stage_says_of_its_pairs_is_what_the_ensemble_does(space, tmp_path):
    """With half a step, which in weight space is no half of a correction."""
    module = train(tmp_path, module_of(tmp_path, stages=1, eta=0.5, space=space))
    margins = []
    for row in module.dev:
        log_probs_R = completion_log_probs(module.model, row.batch)
        chosen, rejected = (log_probs_R - row.reference_R).tolist()
        margins.append(module.plan.beta * (chosen - rejected))
    found = module.records[1]
    assert found["kept"]
    assert found["dev/margin"] == pytest.approx(sum(margins) / len(margins), abs=1e-5)
    assert found["dev/accuracy"] == pytest.approx(sum(m > 0 for m in margins) / len(margins))


def test_a_reference_is_that_of_the_stages_that_answer(tmp_path):
    keys = set()
    for plan in ({}, {"use_stages": [2]}, {"space": "weight"}):
        keys.add(cache_key(module_of(tmp_path, **plan).model, "data", "32-true"))
    with products.by("onednn"):
        keys.add(cache_key(module_of(tmp_path).model, "data", "32-true"))
    assert len(keys) == 4
    assert cache_key(module_of(tmp_path).model, "data", "32-true") in keys


def test_the_loss_follows_the_data():
    pairs, text = Kind("pairs"), Kind("tokens")
    check_data(pairs, Plan(loss="dpo"))
    with pytest.raises(RequestError, match=r"pairs of answers[\s\S]*gbft.loss=dpo"):
        check_data(pairs, Plan())
    with pytest.raises(RequestError, match=r"plain text[\s\S]*gbft.loss=causal_lm"):
        check_data(text, Plan(loss="dpo"))


class Kind:
    seq_len = 24

    def __init__(self, kind):
        self.provides = (kind,)


def test_dev_pairs_are_drawn_from_the_training_side():
    class Data(PairData):
        def order(self):
            return self.steps().order

        def train_dataloader(self):
            return SimpleNamespace(dataset=self.steps())

    data = Data(PAIRS, batch_size=4)
    plan = Plan(loss="dpo", dev_fraction=0.2)
    dev, spare = draw_rows(data, plan, seed=1)
    assert 3 <= len(dev) <= 16
    assert all(len(row.ids_RT) == 2 for row in [*dev, spare])
    assert spare.identity not in {row.identity for row in dev}
    assert len({int(row.index_1) for row in dev}) == len(dev)
