"""What an update learns from: pairs whole or not at all, with what belongs to them; rows without their padding."""

from functools import partial

import pytest
import torch

from batch import IGNORE
from models.boosting.ensemble import Boosted
from models.boosting.learners.lora import LoRA
from models.boosting.plan import Plan
from models.boosting.rows import rows_to_learn
from models.boosting.states import RowStates
from models.boosting.units import is_dev, units_of
from models.gpt import GPT
from tests.pairs import VOCAB, as_pairs, make_pairs


def learned(batch, plan, *, stage=0, spare=None):
    return rows_to_learn([batch], plan, stage=stage, seed=1, token_seeds=[0], spare=spare)


def test_pairs_are_held_out_whole_with_what_belongs_to_them():
    plan = Plan(loss="dpo", dev_fraction=0.5)
    batch = as_pairs(make_pairs(12), margins=[float(i) for i in range(12)]).micro(range(12))
    [left] = learned(batch, plan)
    kept = [i for i, unit in enumerate(units_of(batch, plan)) if not is_dev(unit, 1, plan)]
    assert 0 < len(kept) < 12
    assert left["index"].tolist() == kept
    assert left["margins"].tolist() == kept
    for name in ("ids", "targets", "lengths"):
        assert torch.equal(left[name], batch[name][kept + [i + 12 for i in kept]])


def test_pairs_that_only_fill_a_batch_are_left_out():
    plan = Plan(loss="dpo", dev_fraction=0)
    [left] = learned(as_pairs(make_pairs(3)).micro(range(3), fill=2), plan)
    assert len(left["ids"]) == 6
    assert (left["lengths"] > 0).all()


def test_where_no_pair_is_left_the_spare_one_is_learned_from():
    plan = Plan(loss="dpo", dev_fraction=0.5)
    batch = as_pairs(make_pairs(12)).micro(range(12))
    units = units_of(batch, plan)
    dev = next(i for i, unit in enumerate(units) if is_dev(unit, 1, plan))
    spare = next(unit for unit in units if not is_dev(unit, 1, plan))
    [left] = learned(as_pairs(make_pairs(12)).micro([dev]), plan, spare=spare)
    assert torch.equal(left["ids"], spare.ids_RT)
    assert torch.equal(left["index"], spare.index_1)


def test_pairs_about_one_prompt_are_on_one_side():
    """Four pairs to a prompt, which share their chosen answer: none of a held-out prompt is learned from."""
    plan, made = Plan(loss="dpo", dev_fraction=0.3), make_pairs(40)
    pairs = [(prompt, chosen, other) for prompt, chosen, _ in made[:10] for _, _, other in made[:4]]
    units = units_of(as_pairs(pairs).micro(range(40)), plan)
    sides = [[is_dev(unit, 1, plan) for unit in units[i : i + 4]] for i in range(0, 40, 4)]
    assert all(len(set(side)) == 1 for side in sides)
    assert len({side[0] for side in sides}) == 2
    assert len({unit.identity for unit in units}) == 40


def test_which_answer_is_the_chosen_one_makes_another_pair():
    plan, batch = Plan(loss="dpo"), as_pairs(make_pairs(1)).micro([0])
    turned = batch | {name: batch[name].flip(0) for name in ("ids", "targets", "lengths")}
    assert units_of(batch, plan)[0].identity != units_of(turned, plan)[0].identity


@pytest.mark.parametrize("n_sink", [0, 2])
def test_gbft8_states_do_not_see_padding(n_sink, tmp_path):
    """Rows of other lengths lie in one file, each once, however far it is padded; what is behind them is zeros."""
    torch.manual_seed(0)
    if n_sink:
        from models.transformer import Transformer

        base = Transformer(vocab_size=VOCAB, seq_len=24, n_layer=4, n_head=2, n_embd=16, sinks="tokens", n_sink=n_sink)
    else:
        base = GPT(vocab_size=VOCAB, seq_len=24, n_layer=4, n_head=2, n_embd=16)
    model = Boosted(base=base, learner=partial(LoRA, rank=2), plan=Plan(stages=2), seed=0)
    for p in model.learners.parameters():
        torch.nn.init.normal_(p, std=0.3)
    model.etas[:] = 0.5
    states = RowStates(model, tmp_path, budget=1e6)
    generator = torch.Generator().manual_seed(1)
    ids, lengths = torch.randint(0, VOCAB, (4, 20), generator=generator), torch.tensor([20, 7, 1, 12])
    first, ensemble = states.read(ids, None, stage=2, lengths_B=lengths)
    assert states.base_rows == 4
    for i, n in enumerate(lengths.tolist()):
        alone, own = RowStates(model, None).read(ids[i : i + 1, :n], None, stage=2)
        assert torch.equal(first.hidden_BTC[i : i + 1, :n], alone.hidden_BTC)
        assert torch.equal(first.mid_BTC[i : i + 1, : n + n_sink], alone.mid_BTC)
        assert torch.equal(ensemble[i : i + 1, :n], own)
        assert not ensemble[i, n:].any()
        assert not first.mid_BTC[i, n + n_sink :].any()
    again = states.read(ids[:, :14], None, stage=2, lengths_B=lengths.clamp_max(14))[1]  # one is another row now
    assert states.base_rows == 5
    assert torch.equal(again[1:], ensemble[1:, :14])
    states.close()


def test_the_loss_of_a_batch_does_not_see_padding():
    """Nor what lies in it."""
    from models.boosting.losses import stage_loss

    torch.manual_seed(0)
    base = GPT(vocab_size=VOCAB, seq_len=24, n_layer=4, n_head=2, n_embd=16)
    model = Boosted(base=base, learner=partial(LoRA, rank=2), plan=Plan(loss="sft"), seed=0).double()
    generator = torch.Generator().manual_seed(1)
    ids, lengths = torch.randint(0, VOCAB, (3, 16), generator=generator), torch.tensor([9, 4, 6])
    targets = ids.roll(-1, 1).where(torch.arange(16) < lengths[:, None] - 1, IGNORE)
    found = []
    for T, filler in ((9, 0), (16, 0), (16, 5)):
        real = torch.arange(T) < lengths[:, None]
        batch = {"ids": ids[:, :T].where(real, filler), "targets": targets[:, :T], "lengths": lengths}
        found.append(stage_loss(model, RowStates(model, None, dtype=torch.float64), batch, 0).loss.item())
    assert found[0] == pytest.approx(found[1], rel=1e-12)
    assert found[1] == found[2]
