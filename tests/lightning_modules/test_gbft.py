"""Boosting as a run: frozen base, stages closed on the dev part, exact resume, prefixes, dropped stages."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from batch import IGNORE
from errors import Interrupted, RequestError
from lightning_modules.gbft import GBFTModule
from models.boosting.ensemble import Boosted
from models.boosting.learners.bias import Bias
from models.boosting.learners.block import SmallBlock
from models.boosting.learners.lora import LoRA
from models.boosting.losses import corrective_loss, so_far
from models.boosting.objectives import hidden_residual
from models.boosting.plan import Plan
from models.boosting.rows import rows_to_learn
from models.boosting.states import row_key
from models.boosting.units import Unit, identity_of, is_dev
from models.gpt import GPT
from optimization.adamw import adamw
from optimization.schedules import cosine
from tasks.trainer import fit_and_validate
from tests.small import SEQ_LEN, VOCAB, RandomTokens, make_trainer

ROWS = 48  # in the training data


def corpus() -> torch.Tensor:
    """(ROWS, T + 1): each token follows from the one before, but for some noise: there is something to learn."""
    generator = torch.Generator().manual_seed(7)
    ids = torch.zeros(ROWS, SEQ_LEN + 1, dtype=torch.int64)
    ids[:, 0] = torch.randint(0, VOCAB, (ROWS,), generator=generator)
    for t in range(SEQ_LEN):
        noise = torch.randint(0, VOCAB, (ROWS,), generator=generator)
        follows = (3 * ids[:, t] + 1) % VOCAB
        ids[:, t + 1] = torch.where(torch.rand(ROWS, generator=generator) < 0.05, noise, follows)
    return ids


CORPUS = corpus()


def batch(step: int, corpus: torch.Tensor = CORPUS) -> list[dict[str, torch.Tensor]]:
    rows = corpus[torch.arange(8 * step, 8 * step + 8) % ROWS]
    return [{"ids": part[:, :-1], "targets": part[:, 1:]} for part in rows.split(4)]


def make_module(*, learner=None, start=None, **plan) -> GBFTModule:
    """start: weights of an ensemble, whose stages are there already."""
    torch.manual_seed(0)
    base = GPT(vocab_size=VOCAB, seq_len=SEQ_LEN, n_layer=2, n_head=2, n_embd=16, dropout=0.1)
    for p in base.parameters():  # untrained, but with states that differ
        torch.nn.init.normal_(p, std=0.3 if p.dim() > 1 else 1.0)
    settings = {"stages": 3, "steps_per_stage": 6, "eta": 1.0, "dev_fraction": 0.2} | plan
    model = Boosted(base=base, learner=learner or partial(LoRA, rank=4), plan=Plan(**settings), seed=1)
    if start is not None:
        model.load_state_dict(model.accept(start))
    return GBFTModule(
        model=model,
        strategy="single",
        adapter=None,
        optimizer=partial(adamw, lr=3e-2, betas=[0.9, 0.98], eps=1e-8, weight_decay=0.0),
        schedule=partial(cosine, total_steps=10**9, warmup_steps=1, final_ratio=0.1),
        seed=1,
        grad_clip=1.0,
        log_every=1,
    )


def train(folder: Path, *, module=None, resume=False, callbacks=(), steps=None, give=True, corpus=CORPUS, **plan):
    folder.mkdir(exist_ok=True)
    module = module or make_module(**plan)
    data = RandomTokens(partial(batch, corpus=corpus))
    if give:
        give_rows(module, folder)
    total, size = module.plan.total_steps, module.plan.steps_per_stage
    trainer = make_trainer(folder, max_steps=steps or total, val_every=size, checkpoint_every=size, callbacks=callbacks)
    fit_and_validate(trainer, module, data, folder / "checkpoints/last.ckpt" if resume else None)
    return module


def give_rows(module, folder):
    rows = [Unit(row[None, :-1], row[None, 1:]) for row in CORPUS]
    dev = [row for row in rows if is_dev(row, 1, module.plan)]
    spare = next(row for row in rows if not is_dev(row, 1, module.plan))
    module.use_rows(dev, spare, folder / "cache")
    assert bool(dev) == (module.plan.dev_fraction > 0)


def learned_rows(module, parts, stage):
    """What an update learns from; which tokens, where a share of them is drawn, is not asked here."""
    return rows_to_learn(parts, module.plan, stage=stage, seed=1, token_seeds=[0] * len(parts), spare=None)


class Stop(Callback):
    """Ends the run after so many updates, saved."""

    def __init__(self, at):
        self.at = at

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.at:
            trainer.callbacks[-2].save_last(trainer)
            raise Interrupted(15)


def weights(module):
    return {name: value.clone() for name, value in module.model.state_dict().items()}


def same(a, b, names=None):
    return all(torch.equal(value, b[name]) for name, value in a.items() if names is None or name.startswith(names))


def facts(module):
    """Records without what the clock says."""
    return [{k: v for k, v in record.items() if k != "seconds"} for record in module.records]


def test_gbft9_the_base_stays_as_it_was_and_every_learner_moves(tmp_path):
    module = make_module()
    before = weights(module)
    per_learner = sum(p.numel() for p in module.model.learners[0].parameters())
    assert module.model.parameter_counts()["trainable"] == 3 * per_learner
    train(tmp_path, module=module)
    after = weights(module)
    assert same(before, after, "base.")
    moved = [name for name in after if name.startswith("learners.") and not torch.equal(before[name], after[name])]
    assert len(moved) == len(list(module.model.learners.parameters()))
    assert [r["parameters"] for r in module.records] == [0, *[per_learner] * 3]
    assert list((tmp_path / "cache").iterdir()) == []  # given back


def test_gbft12_every_stage_lowers_the_loss_on_a_toy(tmp_path):
    module = train(tmp_path, eta_rule="line_search", stages=3, steps_per_stage=20)
    losses = [r["dev/loss"] for r in module.records]
    assert all(r["kept"] for r in module.records)
    assert losses == sorted(losses, reverse=True)
    assert losses[0] - losses[-1] > 0.5
    assert all("val/loss" in r for r in module.records)
    literal = train(tmp_path / "literal", objective="mse", literal_recipe=True, eta=0.1, tol=-1.0, stages=3,
                    steps_per_stage=20)  # fmt: skip
    gain = literal.records[0]["dev/loss"] - literal.records[-1]["dev/loss"]
    assert gain < 0.1 * (losses[0] - losses[-1])  # the naive failure, guarded against


@pytest.mark.parametrize("objective", ["newton", "newton_diag", "fisher", "mse"])
def test_every_objective_helps_with_a_line_search(tmp_path, objective):
    module = train(tmp_path, objective=objective, eta_rule="line_search", stages=2, steps_per_stage=20)
    assert module.records[-1]["dev/loss"] < module.records[0]["dev/loss"] - 0.05


@pytest.mark.parametrize(
    "plan",
    [{}, {"cache": "none"}, {"space": "weight"}, {"objective": "newton", "eta_rule": "line_search"},
     {"corrective_steps": 5}, {"best_every": 2}, {"average": 0.8, "best_every": 3},
     {"ensemble": "bagged"}, {"row_fraction": 0.7, "token_fraction": 0.5},
     {"focus": 1.0}, {"refit_etas": True}, {"learner": partial(SmallBlock, width=8, n_head=2)},
     {"learner": partial(LoRA, rank=4, dropout=0.3), "cache": "none"}],
    ids=lambda plan: "-".join(plan) or "default",
)  # fmt: skip
def test_N17_gbft10_stop_in_and_between_stages_and_resume_is_the_same_run(tmp_path, plan):
    straight = train(tmp_path / "straight", **plan)
    stopped = tmp_path / "stopped"
    for at, resume in ((4, False), (6, True), (15, True)):
        with pytest.raises(Interrupted):
            train(stopped, resume=resume, callbacks=[Stop(at)], **plan)
    resumed = train(stopped, resume=True, **plan)
    assert same(weights(straight), weights(resumed))
    assert facts(resumed) == facts(straight)
    assert resumed.measured.tokens_seen == straight.measured.tokens_seen
    assert resumed.corrective == straight.corrective


@pytest.mark.parametrize("space", ["logit", "weight"])
def test_use_stages_is_the_run_stopped_there_bit_for_bit(tmp_path, space):
    """So a stage leaves those before it as they were, in weight space too."""
    keep = {"space": space, "tol": -10.0}  # every stage, whatever it does
    whole, part = train(tmp_path / "whole", **keep), train(tmp_path / "part", stages=2, **keep)
    assert facts(part) == facts(whole)[:3]
    ids, plan = CORPUS[:2, :-1], Plan(stages=3, use_stages=2, space=space)
    first_two = Boosted(base=whole.model.base, learner=partial(LoRA, rank=4), plan=plan, seed=1)
    first_two.load_state_dict(whole.model.state_dict())
    for model in (whole.model, part.model, first_two):
        model.eval()
    assert torch.equal(first_two(ids, logits="all").logits, part.model(ids, logits="all").logits)
    assert not torch.equal(whole.model(ids, logits="all").logits, part.model(ids, logits="all").logits)
    assert whole.model.parameter_counts()["trainable"] == sum(p.numel() for p in whole.model.learners.parameters())


def test_stages_can_be_added_to_a_finished_run(tmp_path):
    straight = train(tmp_path / "straight")
    train(tmp_path / "added", stages=2)
    added = train(tmp_path / "added", resume=True, stages=3)
    assert same(weights(straight), weights(added))
    assert facts(added) == facts(straight)


OTHER = (VOCAB - 1) - CORPUS  # another language: what follows what is mirrored


def test_stages_on_other_data_leave_those_before_as_they_were_bit_for_bit(tmp_path):
    """A domain is added, the run is stopped on the way, and the domain is taken out again: nothing is left of it."""
    old = train(tmp_path / "old", stages=2, tol=-10.0)
    before, more = weights(old), {"stages": 4, "tol": -10.0, "corpus": OTHER}
    added = train(tmp_path / "added", module=make_module(start=before, stages=4, tol=-10.0), corpus=OTHER)
    after = weights(added)
    for names in ("base.", "learners.0.", "learners.1."):
        assert same({n: v for n, v in before.items() if n.startswith(names)}, after)
    assert torch.equal(after["etas"][:2], before["etas"])
    assert [r.get("earlier") for r in added.records] == [None, True, True, None, None]
    assert [r["eta"] for r in added.records[1:3]] == before["etas"].tolist()
    assert added.trainer.global_step == 12  # of two stages
    ids = OTHER[:2, :-1]
    old.model.eval()
    added.model.eval()
    with_both = added.model(ids, logits="all").logits
    added.model.plan = replace(added.model.plan, use_stages=[1, 2])
    assert torch.equal(added.model(ids, logits="all").logits, old.model(ids, logits="all").logits)
    assert not torch.equal(with_both, old.model(ids, logits="all").logits)

    folder = tmp_path / "stopped"
    with pytest.raises(Interrupted):
        train(folder, module=make_module(start=before, stages=4, tol=-10.0), corpus=OTHER, callbacks=[Stop(8)])
    resumed = train(folder, resume=True, **more)
    assert same(after, weights(resumed))
    assert facts(resumed) == facts(added)


def test_what_is_added_is_fitted_to_the_stages_that_are_there(tmp_path):
    old = train(tmp_path / "old", stages=1, tol=-10.0)
    added = train(tmp_path / "added", module=make_module(start=weights(old), stages=2, tol=-10.0), corpus=OTHER)
    alone = train(tmp_path / "alone", stages=2, tol=-10.0)
    before = added.records[1]["dev/loss"], added.records[2]["dev/before"]
    assert before == pytest.approx([old.records[1]["dev/loss"]] * 2, rel=1e-5)  # the same rows are dev here
    assert not same(weights(added), weights(alone), "learners.1")
    assert same(weights(added), weights(alone), "learners.0")


def test_a_bag_is_two_learners_of_the_same_ensemble_and_each_counts_by_its_own_step(tmp_path):
    plain, bag = train(tmp_path / "a", tol=-10.0), train(tmp_path / "b", tol=-10.0, bag=3, eta=0.5)
    assert same(weights(plain), weights(bag), "learners.0")
    assert not same(weights(plain), weights(bag), "learners.1")
    bagged = train(tmp_path / "c", ensemble="bagged", tol=-10.0)  # all of them fitted to the base
    assert same(weights(bag), weights(bagged), "learners")
    after = [r["dev/after"] for r in bag.records[1:-1]]
    assert [r["dev/before"] for r in bag.records[2:]] == pytest.approx(after, rel=1e-5)


def test_the_mean_of_the_weights_is_what_stays(tmp_path):
    """Its last look is that of the mean, and the updates do not notice it."""
    last, mean = train(tmp_path / "a", stages=1), train(tmp_path / "b", stages=1, average=0.9)
    looked = train(tmp_path / "c", stages=1, average=0.9, best_every=6)
    assert not same(weights(last), weights(mean), "learners")
    assert same(weights(mean), weights(looked), "learners")
    assert looked.records[1]["looks"] == [[6, pytest.approx(mean.records[1]["dev/after"], rel=1e-5)]]

    steps = []

    class Keep(Callback):
        def on_train_batch_end(self, trainer, module, *_):
            if trainer.global_step < 6:
                steps.append(weights(module))

    train(tmp_path / "d", stages=1, average=0.9, best_every=3, callbacks=[Keep()])
    plain = list(steps)
    steps.clear()
    train(tmp_path / "e", stages=1, callbacks=[Keep()])
    assert all(same(a, b) for a, b in zip(plain, steps, strict=True))


def test_cached_run_equals_the_run_on_the_fly(tmp_path):
    cached, fresh = train(tmp_path / "a"), train(tmp_path / "b", cache="none")
    assert same(weights(cached), weights(fresh))
    assert cached.states.base_rows == len({tuple(row) for row in CORPUS[:, :-1].tolist()})  # once each
    assert fresh.states.base_rows > 2 * cached.states.base_rows


def test_only_the_stage_in_training_drops_out(tmp_path):
    """What is said of earlier stages, and on the dev part, is free of noise."""
    drawn = train(tmp_path / "drawn", learner=partial(LoRA, rank=4, dropout=0.5))
    plain = train(tmp_path / "plain")
    assert not same(weights(drawn), weights(plain), "learners.0")
    ensemble, ids = drawn.model.train(), CORPUS[:2, :-1]
    inputs = ensemble.inputs(ids)
    assert torch.equal(ensemble.correction(1, inputs), ensemble.correction(1, inputs))
    with ensemble.in_training([ensemble.learners[1]]):
        assert not torch.equal(ensemble.correction(1, inputs), ensemble.correction(1, inputs))
        assert torch.equal(ensemble.correction(0, inputs), ensemble.correction(0, inputs))
    assert torch.equal(ensemble.correction(1, inputs), ensemble.correction(1, inputs))


def test_gbft15_a_stage_that_harms_is_dropped_and_the_run_stops(tmp_path):
    """The second stage is pushed uphill before its last update: against the mean residual of the dev part."""

    class Push(Callback):
        def on_train_batch_start(self, trainer, module, *_):
            if trainer.global_step == 11:
                rows = [(module.states.read(r.ids_RT, None, stage=1)[1][0], r.targets_RT[0]) for r in module.dev]
                hidden, targets = (torch.cat(tensors) for tensors in zip(*rows, strict=True))
                uphill = -hidden_residual(hidden, module.model.head.weight, targets).mean(0)
                module.model.learners[1].shift.data.copy_(100 * uphill)

    module = train(tmp_path, stages=4, callbacks=[Push()], learner=Bias)
    dropped = next(r for r in module.records if not r["kept"])
    assert dropped is module.records[-1]
    assert dropped["eta"] == 0.0
    assert dropped["dev/loss"] == module.records[-2]["dev/loss"]
    assert [r["kept"] for r in module.records] == [True, True, False]
    again = train(tmp_path, resume=True, stages=4, learner=Bias)  # nothing is left to do
    assert facts(again) == facts(module)


class Flood(Callback):
    """Makes the learner of a stage useless just before its last update, so that the stage is dropped.

    What little the best step along such a correction may gain differs between processors: tests ask for more (tol).
    """

    def __init__(self, stage):
        self.stage = stage

    def on_train_batch_start(self, trainer, module, *_):
        if trainer.global_step == 6 * self.stage + 5:
            for p in module.model.learners[self.stage].parameters():
                p.data.fill_(50.0)


def test_corrective_steps_come_also_after_a_dropped_stage(tmp_path):
    plan = {"stages": 4, "corrective_steps": 5}
    module = train(tmp_path, callbacks=[Flood(1)], tol=0.05, **plan)
    assert [r["kept"] for r in module.records] == [True, True, False]
    assert module.trainer.global_step == 2 * 6 + 5
    assert module.corrective["dev/before"] == pytest.approx(module.records[-1]["dev/loss"], abs=1e-5)
    assert module.corrective["dev/after"] != module.corrective["dev/before"]
    again = train(tmp_path, resume=True, **plan)
    assert again.corrective == module.corrective


def test_no_stage_is_added_behind_corrective_steps_or_a_dropped_stage(tmp_path, capsys):
    """The first would get what is left of a stage's updates; the second nothing, which was not said."""
    train(tmp_path / "corrected", stages=2, corrective_steps=5)
    with pytest.raises(RequestError, match="no stage can follow corrective steps"):
        train(tmp_path / "corrected", resume=True, stages=3, corrective_steps=5)
    train(tmp_path / "dropped", stages=2, tol=0.05, callbacks=[Flood(1)])
    assert "no further stage" not in capsys.readouterr().out
    train(tmp_path / "dropped", resume=True, stages=3)
    assert "stage 2 was dropped and gbft.patience=1 ends the run there" in capsys.readouterr().out


def test_corrective_steps_without_a_stage_are_left_out_and_said_to_be(tmp_path, capsys):
    module = train(tmp_path, callbacks=[Flood(0)], stages=4, tol=0.05, corrective_steps=5)
    assert module.corrective is None
    assert module.trainer.global_step == 6
    assert "no stage was kept" in capsys.readouterr().out


def test_focus_looks_at_the_ensemble_in_weight_space_too(tmp_path):
    module = train(tmp_path, stages=2, space="weight", focus=1.0, tol=-10.0)
    micro = batch(0)[0]
    inputs, kept = module.states.read(micro["ids"], None, stage=1)
    assert torch.equal(kept, inputs.hidden_BTC)  # of the base alone
    seen = so_far(module.model, 1, inputs, kept)
    assert torch.equal(seen, module.model.bent_state(inputs, module.model.weights(1)))
    assert not torch.equal(seen, kept)


def test_dev_rows_are_never_trained_on_and_subsampling_draws_rows(tmp_path):
    seen: list[set[bytes]] = [set() for _ in range(3)]
    module = make_module(row_fraction=0.5)
    give_rows(module, tmp_path)
    for step in range(18):
        for micro in learned_rows(module, batch(step), step // 6):
            counted = (micro["targets"] != IGNORE).any(1)
            seen[step // 6] |= {row_key(ids, None) for ids in micro["ids"][counted]}
    dev = {row_key(row.ids_RT[0], None) for row in module.dev}
    assert dev
    assert not dev & (seen[0] | seen[1] | seen[2])
    assert 10 < len(seen[0]) < ROWS - len(dev) - 3
    assert seen[0] != seen[1]


def test_a_dev_row_is_one_however_far_it_is_padded():
    ids, targets = CORPUS[0, :-1].clone(), CORPUS[0, 1:].clone()
    targets[5:] = IGNORE
    longer = [torch.cat([x, torch.full((3,), fill)]) for x, fill in ((ids, 0), (targets, IGNORE))]
    assert identity_of(ids, targets, None) == identity_of(*longer, None)
    assert identity_of(ids, targets, None) != identity_of(ids.flip(0), targets, None)


def test_token_masks_of_fine_tuning_count_as_ignored(tmp_path):
    def masked(step):
        parts = batch(step)
        for micro in parts:
            micro["targets"] = micro["targets"].clone()
            micro["targets"][:, : SEQ_LEN // 2] = IGNORE
        return parts

    module = make_module()
    give_rows(module, tmp_path)
    trainer = make_trainer(tmp_path, max_steps=6, val_every=6, checkpoint_every=6)
    fit_and_validate(trainer, module, RandomTokens(masked), None)
    rows = sum(len(m["ids"]) for s in range(6) for m in learned_rows(module, masked(s), 0))
    assert module.measured.tokens_seen == rows * SEQ_LEN // 2


@pytest.mark.parametrize("space", ["logit", "weight"])
def test_corrective_steps_weigh_tokens_as_the_stages_do(tmp_path, space):
    module = train(tmp_path, stages=2, space=space, tol=-10.0)
    micro = batch(0)[0]
    half = micro | {"targets": micro["targets"].clone()}
    half["targets"][:, ::2] = IGNORE
    weighted = micro | {"weights": (half["targets"] != IGNORE).float()}
    a, b = (corrective_loss(module.model, module.states, part).loss for part in (weighted, half))
    assert float(a) == pytest.approx(float(b))


def test_corrective_steps_focus_where_the_whole_ensemble_is_wrong(tmp_path):
    module = train(tmp_path, stages=2, focus=1.0, tol=-10.0)
    micro = batch(0)[0]
    out = corrective_loss(module.model, module.states, micro)
    nll = module.model(micro["ids"], targets_BT=micro["targets"]).nll_BT
    missed = 1 - (-nll).exp()  # 1 - p, with mean 1 over tokens
    assert float(out.loss) == pytest.approx(float((nll * missed / missed.mean()).sum()), rel=1e-5)
