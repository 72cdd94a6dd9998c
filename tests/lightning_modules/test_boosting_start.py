"""What boosting begins with: rows that choose steps, also where rows never come back; a base where there is none."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from errors import RequestError
from launcher.config.compose import compose
from launcher.lab import Lab
from lightning_modules.base import Start
from lightning_modules.boosting_start import check_logits, draw_rows, n_rows
from lightning_modules.gbft import GBFTModule
from models.boosting.ensemble import Boosted
from models.boosting.learners.lora import LoRA
from models.boosting.plan import Plan
from models.gpt import GPT
from models.transformer import Transformer
from models.weights.loading import load_weights
from optimization.adamw import adamw
from optimization.muon import muon

VOCAB, T = 20, 6
LAB = Lab(Path(__file__).parents[2])


def boosted(vocab_size: int = VOCAB, **plan) -> Boosted:
    base = GPT(vocab_size=vocab_size, seq_len=T, n_layer=2, n_head=2, n_embd=8)
    return Boosted(base=base, learner=partial(LoRA, rank=2), plan=Plan(**{"steps_per_stage": 3} | plan), seed=0)


class Endless:
    """Generated conversations: two rows a step, none of which comes again; the first two tokens are given."""

    def __init__(self):
        self.train, self.batch_size, self.accumulate = SimpleNamespace(size=None), 2, 1

    def train_dataloader(self):
        return SimpleNamespace(dataset=self)

    def __getitem__(self, step: int) -> list[dict[str, torch.Tensor]]:
        ids = torch.randint(0, VOCAB, (2, T), generator=torch.Generator().manual_seed(step))
        targets = ids.roll(-1, 1)
        targets[:, :2] = -100
        return [{"ids": ids, "targets": targets}]


def start(data, folder=Path("."), *, weights="run", resumed=False, train=None) -> Start:
    return Start(data, folder, weights, resumed, 1, train or pytest.fail, lambda batch_size: "the reference")


def objective(model=None, **settings) -> GBFTModule:
    defaults = {"strategy": "single", "adapter": None, "optimizer": partial(adamw, lr=0.1)}
    return GBFTModule(model=model or boosted(), **(defaults | settings))


def test_rows_that_never_come_back_choose_steps_and_are_not_cached(tmp_path):
    data, plan = Endless(), {"stages": 4, "steps_per_stage": 25, "dev_fraction": 0.1}
    assert n_rows(data, Plan(**plan)) == 200
    dev, spare = draw_rows(data, Plan(**plan), seed=0)
    assert 8 <= len(dev) <= 35
    assert spare.identity not in {row.identity for row in dev}
    module = objective(boosted(**plan))
    module.begin(start(data, tmp_path))
    assert len(module.dev) == len(dev)
    assert module.states.folder is None


def test_capped_logits_are_boosted_to_first_order_only():
    """Residuals and line searches of second order leave the cap out: they would be those of another model."""
    base = Transformer(vocab_size=VOCAB, seq_len=T, n_layer=2, n_head=2, n_embd=8, softcap=15.0)
    searched = {"eta_rule": "line_search"}
    for plan in ({"objective": "newton"} | searched, {"objective": "mse"} | searched, {"refit_etas": True}):
        model = Boosted(base=base, learner=partial(LoRA, rank=2), plan=Plan(**plan), seed=0)
        with pytest.raises(RequestError, match="caps them"):
            check_logits(model)
        check_logits(boosted(**plan))
    check_logits(Boosted(base=base, learner=partial(LoRA, rank=2), plan=Plan(**searched), seed=0))


def test_what_to_type_next_is_nothing_that_would_do_nothing():
    """More stages cannot follow one that was dropped, nor corrective steps."""
    module, stage = objective(), {"stage": 1, "eta": 0.5, "kept": True, "parameters": 1}
    module.machine.records = [stage]
    assert "gbft.stages=10" in module.farewell()["go on"]
    module.machine.corrective = {}
    assert module.farewell()["go on"] is None
    module.machine.corrective, module.machine.records = None, [stage | {"kept": False}]
    assert module.farewell()["go on"] is None


@pytest.mark.parametrize(("loss", "talks"), [("causal_lm", False), ("sft", True), ("dpo", True)])
def test_what_learned_to_answer_is_talked_to(loss, talks):
    said = objective(boosted(loss=loss)).farewell()
    assert ("task=chat" in said.get("talk", "")) == talks
    assert ("sample" in said) == talks  # None: no text is asked to go on


@pytest.mark.parametrize(("weights", "resumed", "learned"), [("run", False, 0), (None, True, 0), (None, False, 1)])
def test_a_base_is_learned_where_there_is_none(weights, resumed, learned):
    shorts = []
    module = objective(log_every=1)
    module.learn_start(
        start(rows(), weights=weights, resumed=resumed, train=lambda *of, **how: shorts.append((of, how)))
    )
    assert len(shorts) == learned
    assert all(how == {"steps": 800, "folder": "base"} and of[1] == "the reference" for of, how in shorts)
    assert not any(p.requires_grad for p in module.model.base.parameters())


def test_a_frozen_base_learns_no_new_ids(tmp_path):
    """A base of another vocabulary is refused, and taken as it is where that is asked for."""
    source = GPT(vocab_size=VOCAB - 2, seq_len=T, n_layer=2, n_head=2, n_embd=8)
    torch.save({"state_dict": {f"model.{k}": v for k, v in source.state_dict().items()}}, tmp_path / "a.ckpt")
    model = boosted()
    with pytest.raises(RequestError, match=r"vocabulary of 18, this data one of 20"):
        load_weights(model, tmp_path / "a.ckpt", tell="nothing")
    load_weights(model, tmp_path / "a.ckpt", tell="nothing", resize_vocab=True)
    assert torch.equal(model.base.embed.weight[: VOCAB - 2], source.embed.weight)
    assert not any(p.requires_grad for p in model.base.parameters())
    same = boosted(VOCAB - 2)
    load_weights(same, tmp_path / "a.ckpt", tell="nothing")
    ids = torch.randint(0, VOCAB - 2, (2, T))
    assert torch.equal(same.eval()(ids, logits="all").logits, source.eval()(ids, logits="all").logits)


def rows(**changes) -> SimpleNamespace:
    """Data that can be boosted on, but for `changes`."""
    facts = {"sampling": "shuffle", "provides": ("tokens",), "stride": T, "seq_len": T}
    return SimpleNamespace(**(facts | changes), order=lambda: SimpleNamespace(n_windows=9))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"adapter": {"rank": 4}}, "Leave adapter=... out"),
        ({"optimizer": partial(muon, lr=0.1)}, "optimizer=adamw_stage"),
        ({"strategy": "ddp"}, "one device"),
    ],
)
def test_gbft14_a_run_that_cannot_be_boosted_is_refused(changes, words):
    with pytest.raises(RequestError, match=words):
        objective(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampling": "random"}, "data.sampling=shuffle"),
        ({"stride": T - 1}, "would be trained on"),
        ({"provides": ("conversations",)}, "gbft.loss=sft"),
    ],
)
def test_gbft14_what_cannot_be_boosted_is_refused_before_training(changes, words):
    objective().check_data(rows())
    with pytest.raises(RequestError, match=words):
        objective().check_data(rows(**changes))


def test_dev_rows_may_overlap_where_there_are_none():
    objective(boosted(dev_fraction=0)).check_data(rows(stride=T - 1))


def test_a_run_is_as_long_as_its_stages_unless_a_number_is_typed():
    """The default of 2,000 updates once cut five stages of 500 short, without a word."""
    assert compose(["objective=gbft"], LAB).cfg.trainer.max_steps == 1000
    words = ["objective=gbft", "gbft=short", "gbft.steps_per_stage=500"]
    assert compose(words, LAB).cfg.trainer.max_steps == 2500
    assert compose([*words, "gbft.corrective_steps=70"], LAB).cfg.trainer.max_steps == 2570
    assert compose([*words, "trainer.max_steps=1000"], LAB).cfg.trainer.max_steps == 1000
    with pytest.raises(RequestError, match=r"gbft\.stages=many: expected a whole number") as error:
        compose([*words, "gbft.stages=many"], LAB)
    assert "trainer.max_steps" not in str(error.value)


def test_a_setting_chooses_its_learner_unless_one_is_typed():
    def learner(*words):
        return compose(["objective=gbft", *words], LAB).cfg.learner

    for setting, rank, dropout in (("default", 20, 0.5), ("full_data", 4, 0.0), ("bags", 10, 0.5)):
        found = learner(f"gbft={setting}")
        assert (found.rank, found.dropout) == (rank, dropout)
    assert learner("gbft=newton", "learner=block")._target_.endswith("SmallBlock")


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"stages": 2}, r"2 stages already(.|\n)*gbft.stages=4"),
        ({"stages": 4, "refit_etas": True}, "would change the 2 stages"),
        ({"stages": 4, "corrective_steps": 1}, "would change the 2 stages"),
        ({"stages": 4, "ensemble": "bagged"}, "would change the 2 stages"),
        ({"stages": 6, "bag": 3}, "gbft.bag=3"),
    ],
)
def test_stages_behind_those_of_another_run_add_something_and_change_nothing(plan, words):
    def grown(**plan):
        model = boosted(**plan)
        model.closed.fill_(2)
        return objective(model)

    grown(stages=4).learn_start(start(rows()))
    with pytest.raises(RequestError, match=words):
        grown(**plan).learn_start(start(rows()))
    grown(**plan).learn_start(start(rows(), resumed=True))


def test_a_run_ends_with_a_stage(capsys):
    plan = Plan(stages=5, steps_per_stage=500, corrective_steps=30)
    assert plan.run_length(2530) == plan.run_length(9000) == 2530
    assert capsys.readouterr().out == ""
    assert plan.run_length(2000) == 2000
    assert "after 4 of 5 stages" in capsys.readouterr().out
    assert plan.run_length(2500) == 2500  # without the corrective updates
    for steps, instead in ((600, 500), (4, 500), (2501, 2500)):
        with pytest.raises(RequestError, match=rf"in the middle of a stage(.|\n)*max_steps={instead};"):
            plan.run_length(steps)


def test_gbft14_the_head_cannot_be_bent():
    """A correction of final states times the frozen head is what makes logits add up."""
    base = boosted().base
    with pytest.raises(RequestError, match="match no linear layer"):
        LoRA(base=base, targets=["lm_head"])
