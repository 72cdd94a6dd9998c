"""DPO: hand-worked losses, TRL's numbers, a start at exactly ln 2, the reference's cache, invariance, resume."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from errors import RequestError
from lightning_modules.dpo import DPOModule, sequence_log_probs
from lightning_modules.reference import cache_key, reference_log_probs
from models.gpt import GPT
from models.preference_losses import LOSSES, Knobs, Pairs, log1mexp
from tests.pairs import VOCAB, PairData, adam, as_pairs, make_pairs, sgd, train

ONE = torch.ones(1)
# by hand: log-ratios +1 and -1 (margin 2), over 2 and 4 tokens: 1/2 and -1/4 a token
PAIR = Pairs(-1 * ONE, -3 * ONE, -2 * ONE, -2 * ONE, 2 * ONE, 4 * ONE)
FREE = PAIR._replace(ref_chosen=0 * ONE, ref_rejected=0 * ONE)  # per token: -1/2 and -3/4


def nls(z):
    """-log sigmoid(z)"""
    return math.log1p(math.exp(-z))


@pytest.mark.parametrize(
    ("name", "pair", "knobs", "expected"),
    [
        ("sigmoid", PAIR, Knobs(0.5), nls(1)),
        ("sigmoid", PAIR, Knobs(0.5, 0.2), 0.8 * nls(1) + 0.2 * nls(-1)),
        ("robust", PAIR, Knobs(0.5, 0.1), (0.9 * nls(1) - 0.1 * nls(-1)) / 0.8),
        ("hinge", PAIR, Knobs(0.5), 0.0),
        ("hinge", PAIR, Knobs(0.1), 0.8),
        ("ipo", PAIR, Knobs(0.5), (0.75 - 1) ** 2),
        ("sigmoid_norm", PAIR, Knobs(0.5), nls(0.375)),
        ("simpo", FREE, Knobs(2.0, 0.0, 0.3), nls(2 * 0.25 - 0.3)),
        (
            "orpo",
            FREE,
            Knobs(0.1),
            0.5 + 0.1 * nls(0.25 - (math.log(1 - math.exp(-0.5)) - math.log(1 - math.exp(-0.75)))),
        ),
    ],
)
def test_losses_worked_by_hand(name, pair, knobs, expected):
    assert LOSSES[name](pair, knobs).item() == pytest.approx(expected, abs=1e-6)


def test_F39_a_loss_is_what_it_is_called(tmp_path):
    """The chosen answer's likelihood is added where it is asked for, and by saved configs of runs that had it."""
    assert {name: module(tmp_path, loss_type=name).nll_weight for name in LOSSES} == dict.fromkeys(LOSSES, 0.0)
    saved = {name: module(tmp_path, loss_type=name, nll_weight=None).nll_weight for name in LOSSES}
    assert saved == {name: 5.0 if name in ("sigmoid", "robust", "sigmoid_norm") else 0.0 for name in LOSSES}
    with pytest.raises(RequestError, match="in it already"):
        module(tmp_path, loss_type="orpo", nll_weight=1.0)


def test_the_start_says_what_is_added(tmp_path, capsys):
    for weight, words in ((5.0, "sigmoid + 5 x the chosen"), (0.0, "loss    sigmoid (")):
        train(
            tmp_path / str(weight), module(tmp_path, nll_weight=weight), PairData(make_pairs(4), batch_size=4), steps=1
        )
        assert words in capsys.readouterr().out


def test_log1mexp_is_exact_at_both_ends():
    x = torch.tensor([-1e-4, -0.5, -1.0, -30.0], dtype=torch.float64)
    expected = [math.log(-math.expm1(v)) if v > -1 else math.log1p(-math.exp(v)) for v in x.tolist()]
    torch.testing.assert_close(log1mexp(x), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)
    assert log1mexp(torch.zeros(1)).isfinite()


def module(tmp_path, *, dropout=0.0, seed=0, **settings) -> DPOModule:
    torch.manual_seed(seed)
    model = GPT(vocab_size=VOCAB, seq_len=24, n_layer=2, n_head=2, n_embd=16, dropout=dropout)
    defaults = {"loss_type": "sigmoid", "beta": 0.1, "cache_dir": str(tmp_path / "cache"), "log_every": 1, "seed": 1}
    return DPOModule(model=model, optimizer=partial(adam, lr=1e-2), grad_clip=None, **(defaults | settings))


@pytest.mark.parametrize("reference", ["cached", "online"])
def test_S17_S18_first_step_has_no_margin_and_a_loss_of_ln_2(tmp_path, reference):
    dpo = module(tmp_path, dropout=0.1, reference=reference)
    train(tmp_path, dpo, PairData(make_pairs(12), batch_size=4), steps=1)
    assert dpo.measured.train["train/loss"] == pytest.approx(math.log(2), abs=1e-7)
    assert dpo.measured.train["train/rewards/margins"] == 0.0
    assert dpo.measured.train["train/rewards/accuracies"] == 0.0  # a tie is not right
    assert dpo.model.training
    assert dpo.reference.frozen is None or not dpo.reference.frozen.training


def test_N29_cached_equals_online(tmp_path):
    pairs = make_pairs(30)
    runs = {}
    for reference in ("cached", "online"):
        dpo = module(tmp_path, reference=reference)
        train(tmp_path / reference, dpo, PairData(pairs, batch_size=4), steps=6)
        runs[reference] = dpo
    for name, value in runs["online"].measured.val.items():
        assert runs["cached"].measured.val[name] == pytest.approx(value, abs=2e-6), name
    assert runs["online"].measured.val["val/rewards/margins"] > 1e-3  # something was learned
    online = runs["online"].reference.frozen
    for micro in PairData(pairs, batch_size=7).epoch_batches():  # other batches than those it was computed in
        expected = sequence_log_probs(online, micro)[0]
        cached = runs["cached"].reference.table[micro["index"]].T.reshape(-1)
        real = micro["lengths"] > 0
        torch.testing.assert_close(cached[real], expected[real], rtol=0, atol=2e-6 * expected.abs().max().item())


def test_N29_the_cache_is_found_again_and_keyed_by_weights_and_data(tmp_path):
    first = module(tmp_path)
    train(tmp_path / "a", first, PairData(make_pairs(12), batch_size=4), steps=1)
    files = list((tmp_path / "cache" / "reference").glob("*.npy"))
    assert len(files) == 1

    def refuse(*_):
        raise AssertionError("computed again")

    again = module(tmp_path)
    data = PairData(make_pairs(12), batch_size=4)
    fake = SimpleNamespace(
        model=again.model, trainer=SimpleNamespace(datamodule=data, precision="32-true", world_size=1)
    )
    found = reference_log_probs(fake, refuse, tmp_path / "cache")
    assert torch.equal(found, first.reference.table)
    other = module(tmp_path, seed=5)
    keys = {
        cache_key(again.model, "data", "32-true"),
        cache_key(other.model, "data", "32-true"),
        cache_key(again.model, "other data", "32-true"),
        cache_key(again.model, "data", "bf16-mixed"),
    }
    assert len(keys) == 4


@pytest.mark.parametrize("loss_type", sorted(LOSSES))
def test_N18_micro_batches_do_not_change_the_update(tmp_path, loss_type):
    """Ragged pairs: 8 at once, 4 x 2, 8 x 1 move the weights alike, and log the same.

    In float64, where sums in another order differ by some 1e-15 of their size; the reference is kept in float32, which
    batches of other shapes may round to a neighbour (6e-8 of its size, here up to 40 nats).
    """
    pairs, found = make_pairs(8), []
    for batch_size in (8, 2, 1):
        dpo = module(tmp_path, loss_type=loss_type, nll_weight=0.0 if loss_type == "orpo" else 0.3)
        dpo._make_optimizer = partial(sgd, lr=0.01)
        data = PairData(pairs, batch_size=batch_size, accumulate=8 // batch_size)
        train(tmp_path / str(batch_size), dpo, data, steps=2, precision="64-true")
        found.append((dpo.state_dict(), dpo.measured.train | dpo.measured.val))
    for state, logged in found[1:]:
        for name, value in found[0][0].items():
            torch.testing.assert_close(state[name], value, rtol=1e-6, atol=1e-6)
        for name, value in found[0][1].items():
            assert logged[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name


def test_N17_resume_is_exact_and_needs_no_start_model(tmp_path):
    pairs = make_pairs(20)
    straight = module(tmp_path)
    train(tmp_path / "straight", straight, PairData(pairs, batch_size=4), steps=8)
    train(tmp_path / "stopped", module(tmp_path), PairData(pairs, batch_size=4), steps=3)
    resumed = module(tmp_path / "elsewhere", seed=9)  # other start weights, no cache
    train(tmp_path / "stopped", resumed, PairData(pairs, batch_size=4), steps=8, resume=True)
    for name, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert resumed.measured.val == straight.measured.val


def test_pairs_that_fill_up_a_batch_count_nothing(tmp_path):
    dpo = module(tmp_path, loss_type="simpo")
    table = as_pairs(make_pairs(3))
    alone, filled = (dpo.loss(table.micro(range(3), fill=fill)) for fill in (0, 2))
    torch.testing.assert_close(alone.loss, filled.loss)
    for name, value in alone.sums.items():
        torch.testing.assert_close(filled.sums[name], value)
    assert dpo.units(table.micro(range(3), fill=2)) == 3


def test_a_reference_free_loss_keeps_no_reference(tmp_path):
    dpo = module(tmp_path, loss_type="simpo", beta=2.0, gamma=0.5)
    train(tmp_path, dpo, PairData(make_pairs(12), batch_size=4), steps=2)
    assert dpo.reference is None
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"loss_type": "hinge", "label_smoothing": 0.1}, "loss_type=sigmoid"),
    ],
)
def test_wrong_values_are_refused(tmp_path, settings, expected):
    with pytest.raises(RequestError, match=expected):
        module(tmp_path, **settings)


def test_dpo_learns_and_leaves_the_reference(tmp_path):
    dpo = module(tmp_path, reference="online")
    before = {name: value.clone() for name, value in dpo.model.state_dict().items()}
    train(tmp_path, dpo, PairData(make_pairs(16), batch_size=8), steps=10)
    assert dpo.measured.train["train/rewards/accuracies"] > 0.9
    for name, value in before.items():
        assert torch.equal(dpo.reference.frozen.state_dict()[name], value), name
        assert not torch.equal(dpo.model.state_dict()[name], value), name


def test_the_trainer_makes_no_logits_of_all_tokens(tmp_path, monkeypatch):
    from models.layers import loss as layer

    seen = []
    original = layer._chunk
    monkeypatch.setattr(layer, "_chunk", lambda h, *rest, **more: (seen.append(len(h)), original(h, *rest, **more))[1])
    dpo = module(tmp_path, loss_type="simpo")
    micro = as_pairs(make_pairs(4)).micro(range(4))
    dpo.loss(micro)
    assert sum(seen) == int((micro["targets"] >= 0).sum()) < micro["ids"].numel()
