"""KTO: hand-worked losses, TRL's loss and gradient, a reference point over the whole update, resume."""

import copy
import math
from functools import partial

import pytest
import torch

from datamodules.preference_labels import WithLabels
from errors import RunError
from lightning_modules.kto import KTOModule, desirable_rows, kto_loss
from lightning_modules.start import LikelihoodModule
from models.gpt import GPT
from tests.lightning_modules.test_trl import PAIRS, Wrapped, arguments, llama, tokenizer
from tests.pairs import VOCAB, PairData, adam, as_pairs, make_pairs, sgd, table_of, train


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_losses_worked_by_hand():
    """Log-ratios 2 and -1, reference point 0.5, beta 0.1: 0.1 * 1.5 and 0.1 * 1.5 again, for the other kind."""
    ratio, desirable = torch.tensor([2.0, -1.0, 2.0]), torch.tensor([True, False, False])
    found = kto_loss(ratio, desirable, torch.tensor(0.5), beta=0.1, desirable_weight=2.0, undesirable_weight=0.5)
    expected = [2 * (1 - sigmoid(0.15)), 0.5 * (1 - sigmoid(0.15)), 0.5 * (1 - sigmoid(-0.15))]
    torch.testing.assert_close(found, torch.tensor(expected))


class Labels(PairData):
    """The chosen answers as completions, three of four desirable; beside each the chosen one of another prompt."""

    def __init__(self, pairs, **settings):
        super().__init__(pairs, **settings)
        for name, of in (("table", pairs), ("val", make_pairs(5, seed=7))):
            others = [(p, c, of[(i + 1) % len(of)][1]) for i, (p, c, _) in enumerate(of)]
            setattr(self, name, table_of(others, [float(i % 4 != 0) for i in range(len(of))]))

    def steps(self):
        return WithLabels(super().steps())

    def validation(self):
        return WithLabels(super().validation())


def module(tmp_path, *, seed=0, **settings) -> KTOModule:
    torch.manual_seed(seed)
    model = GPT(vocab_size=VOCAB, seq_len=24, n_layer=2, n_head=2, n_embd=16)
    defaults = {"beta": 0.1, "cache_dir": str(tmp_path / "cache"), "log_every": 1, "seed": 1}
    return KTOModule(model=model, optimizer=partial(adam, lr=1e-2), grad_clip=None, **(defaults | settings))


@pytest.mark.parametrize("reference", ["cached", "online"])
def test_S17_the_first_step_is_at_the_reference(tmp_path, reference):
    kto = module(tmp_path, reference=reference)
    train(tmp_path, kto, Labels(make_pairs(12), batch_size=12), steps=1)
    assert kto.measured.train["train/loss"] == pytest.approx(0.5, abs=1e-6)
    assert kto.measured.train["train/kl"] == 0.0
    assert kto.measured.train["train/rewards/margins"] == pytest.approx(0.0, abs=1e-6)


def test_N18_the_reference_point_is_that_of_the_whole_update(tmp_path):
    """8 at once, 4 x 2, 8 x 1: the same update and the same validation."""
    found = []
    for batch_size in (8, 2, 1):
        kto = module(tmp_path)
        kto._make_optimizer = partial(sgd, lr=0.3)
        data = Labels(make_pairs(8), batch_size=batch_size, accumulate=8 // batch_size)
        train(tmp_path / str(batch_size), kto, data, steps=3, precision="64-true")
        found.append((kto.state_dict(), kto.measured.train | kto.measured.val))
    assert found[0][1]["train/kl"] > 1e-3  # else nothing is shown
    for state, logged in found[1:]:
        for name, value in found[0][0].items():
            torch.testing.assert_close(state[name], value, rtol=1e-6, atol=1e-6)
        for name, value in found[0][1].items():
            assert logged[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name


def test_N17_resume_is_exact_and_needs_no_start_model(tmp_path):
    pairs = make_pairs(20)
    straight = module(tmp_path)
    train(tmp_path / "straight", straight, Labels(pairs, batch_size=4), steps=8)
    train(tmp_path / "stopped", module(tmp_path), Labels(pairs, batch_size=4), steps=3)
    resumed = module(tmp_path / "elsewhere", seed=9)  # other start weights, no cache
    train(tmp_path / "stopped", resumed, Labels(pairs, batch_size=4), steps=8, resume=True)
    for name, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert resumed.measured.val == straight.measured.val


def test_the_start_learns_desirable_completions_only():
    micro = as_pairs(make_pairs(4), [1.0, 0.0, 1.0, 0.0]).micro(range(4))
    micro["labels"] = micro.pop("margins") > 0.5
    rows = desirable_rows(micro)
    assert len(rows["ids"]) == 4
    assert [bool((targets != -100).any()) for targets in rows["targets"]] == [True, False, True, False]


def test_the_start_goes_on_where_no_completion_of_an_update_is_desirable(tmp_path):
    data = Labels(make_pairs(4), batch_size=2)
    data.table = table_of(make_pairs(4), [0.0] * 4)
    start = LikelihoodModule(select=desirable_rows, model=module(tmp_path).model, optimizer=partial(adam, lr=1e-2))
    before = copy.deepcopy(start.model.state_dict())
    train(tmp_path, start, data, steps=2)
    assert start.measured.train["train/loss"] == 0.0
    assert all(torch.equal(value, before[name]) for name, value in start.model.state_dict().items())
    start.may_learn_nothing = False
    with pytest.raises(RunError, match="no token to learn from"):
        train(tmp_path / "as others", start, data, steps=2)


def test_kto_equals_trl(tmp_path):
    """Loss and gradient on one batch, the same mismatched completions; weights of both kinds."""
    from datasets import Dataset
    from trl import KTOConfig, KTOTrainer

    policy, reference = llama(), llama()
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel() + 1)))
    weights = {"desirable_weight": 1.5, "undesirable_weight": 0.7}
    rows = [{"prompt": "w3", "completion": "w4", "label": True}, {"prompt": "w5", "completion": "w6", "label": False}]
    trainer = KTOTrainer(
        model=copy.deepcopy(policy), ref_model=copy.deepcopy(reference), processing_class=tokenizer(),
        args=arguments(KTOConfig, tmp_path, beta=0.3, **weights), train_dataset=Dataset.from_list(rows * 2),
    )  # fmt: skip
    labels = [True, False, False, True]
    examples = [
        {"prompt_ids": p, "completion_ids": c, "KL_completion_ids": r, "label": label}
        for (p, c, r), label in zip(PAIRS, labels, strict=True)
    ]
    expected = trainer.compute_loss(trainer.model, trainer.data_collator(examples))
    expected.backward()

    ours = KTOModule(model=Wrapped(policy), beta=0.3, reference="online", **weights)
    ours.reference.frozen = Wrapped(reference)
    micro = as_pairs(PAIRS).micro(range(4)) | {"labels": torch.tensor(labels)}
    sums = ours._mismatched(micro)
    ours.reference_point = (sums["ratio"] / sums["n"]).clamp_min(0).float()
    loss = ours.loss(micro).loss / 4
    loss.backward()
    assert ours.reference_point > 0.01
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    theirs = dict(trainer.model.named_parameters())
    for name, p in policy.named_parameters():
        torch.testing.assert_close(p.grad, theirs[name].grad, rtol=1e-5, atol=1e-5)
