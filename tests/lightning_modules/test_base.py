"""One update: the loss of the global batch, its logs, the stop before a NaN, exact resume."""

import csv
import math
import os
import signal
from itertools import chain
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback

from batch import IGNORE
from errors import Interrupted
from lightning_modules import base
from lightning_modules.sft import SFTModule
from lightning_modules.sums import text_metrics, text_sums
from lightning_modules.update import NonFiniteError, seed_generators, step_seed
from loggers.metrics_csv import MetricsCSV
from models.generation import writing
from models.layers.attention import any_length
from tasks.trainer import fit_and_validate
from tests.small import SEQ_LEN, VOCAB, RandomTokens, make_module, make_trainer


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def train(folder, steps, *, module=None, data=None, resume=False, **settings):
    module, data = module or make_module(dropout=0.1), data or RandomTokens()
    start = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["global_step"] if resume else 0
    loggers = [MetricsCSV(run_dir=folder, start_step=start)]
    trainer = make_trainer(folder, max_steps=steps, loggers=loggers, **settings)
    fit_and_validate(trainer, module, data, folder / "checkpoints/last.ckpt" if resume else None)
    return module, data


def rows(folder, prefix):
    with open(folder / "metrics.csv") as file:
        return {int(r["step"]): r[f"{prefix}/loss"] for r in csv.DictReader(file) if r[f"{prefix}/loss"]}


def ragged(rows_at_once):
    """Eight rows, row i supervised on its last 8 - i tokens, as micro-batches of `rows_at_once`."""
    ids = torch.randint(0, VOCAB, (8, SEQ_LEN + 1), generator=torch.Generator().manual_seed(5))
    targets = ids[:, 1:].clone()
    for i in range(8):
        targets[i, :i] = IGNORE
    parts = zip(ids[:, :-1].split(rows_at_once), targets.split(rows_at_once), strict=True)
    return [{"ids": x, "targets": y} for x, y in parts]


def sgd(*, model):
    return torch.optim.SGD([{"params": list(model.parameters()), "initial_lr": 1.0}], lr=1.0)


@pytest.mark.parametrize("rows_at_once", [8, 2, 1])
def test_N18_S1_loss_and_gradient_are_the_mean_over_all_tokens(tmp_path, rows_at_once):
    module = make_module(grad_clip=None)
    module._make_optimizer, module._schedule = sgd, None
    before = weights(module)
    whole = ragged(8)[0]
    expected = module.model(whole["ids"], targets_BT=whole["targets"]).loss / (whole["targets"] != IGNORE).sum()
    gradient = torch.autograd.grad(expected, module.model.embed.weight)[0]
    train(tmp_path, 1, module=module, data=RandomTokens(lambda step: ragged(rows_at_once)))
    moved = before["model.embed.weight"] - weights(module)["model.embed.weight"]  # lr 1: the gradient itself
    torch.testing.assert_close(moved, gradient, rtol=0, atol=1e-6)
    assert float(rows(tmp_path, "train")[1]) == pytest.approx(expected.item(), abs=1e-6)  # logged = trained


def test_gradient_norm_is_logged_before_clipping_and_bounded_after(tmp_path):
    module = make_module(grad_clip=0.01)
    module._make_optimizer, module._schedule = sgd, None
    before = weights(module)
    train(tmp_path, 1, module=module)
    moved = torch.cat([(before[n] - w).flatten() for n, w in weights(module).items() if "lm_head" not in n])
    assert moved.norm().item() == pytest.approx(0.01, rel=1e-3)
    assert module.measured.train["train/grad_norm"] > 0.1


def test_N17_stop_twice_and_resume_is_bit_for_bit_the_same(tmp_path):
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    straight.mkdir(), stopped.mkdir()
    module, data = train(straight, 30)
    pieces = [train(stopped, 7), train(stopped, 19, resume=True), train(stopped, 30, resume=True)]
    last, drawn = pieces[-1][0], [pieces[0][1].drawn[:7], pieces[1][1].drawn[:12], pieces[2][1].drawn[:11]]
    assert list(chain(*drawn)) == data.drawn[:30]
    assert all(torch.equal(value, weights(last)[name]) for name, value in weights(module).items())
    assert last.measured.tokens_seen == module.measured.tokens_seen
    assert rows(stopped, "train") == rows(straight, "train")  # loss of each step, no row twice, none missing


@pytest.mark.parametrize(
    ("phase", "at", "expected"),
    [
        ("on_train_batch_start", 5, 6),
        ("on_validation_batch_start", 5, 5),
        ("on_validation_end", 5, 5),
        ("on_validation_batch_start", 12, 12),  # the last validation, when no step is left
    ],
)
def test_N19_sigterm_in_any_phase_saves_the_last_full_step(tmp_path, phase, at, expected):
    class Kill(Callback):
        def __init__(self):
            def kill(trainer, *_):
                if trainer.global_step == at:
                    os.kill(os.getpid(), signal.SIGTERM)

            setattr(self, phase, kill)

    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    straight.mkdir(), stopped.mkdir()
    module, _ = train(straight, 12)
    with pytest.raises(Interrupted) as raised:
        train(stopped, 12, callbacks=[Kill()])
    assert raised.value.signum == signal.SIGTERM
    assert torch.load(stopped / "checkpoints/last.ckpt", weights_only=True)["global_step"] == expected
    resumed, _ = train(stopped, 12, resume=True)
    assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(module).items())
    for kind in ("train", "val"):
        assert rows(stopped, kind) == rows(straight, kind)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # handlers are put back


def test_N20_last_is_the_last_step_even_when_validation_gets_worse(tmp_path):
    threes = {"ids": torch.full((2, SEQ_LEN), 3), "targets": torch.full((2, SEQ_LEN), 3)}
    train(tmp_path, 13, data=RandomTokens(lambda step: [threes]))  # the validation split has all tokens
    last = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    best = torch.load(tmp_path / "checkpoints/best.ckpt", weights_only=True)
    losses = {step: float(loss) for step, loss in rows(tmp_path, "val").items()}
    assert last["global_step"] == 13
    assert best["global_step"] == min(losses, key=losses.__getitem__) < 13
    assert list(losses) == [5, 10, 13]


@pytest.fixture(params=["now", "later"])
def settled(request, monkeypatch):
    """An update's norm is looked at at once, or as on a GPU once the next one is under way."""
    monkeypatch.setattr(base, "LATER", {"cpu"} if request.param == "later" else set())
    return request.param


@pytest.mark.parametrize("grad_clip", [None, 0.1])  # below every norm here
def test_what_is_settled_later_is_the_same_run(tmp_path, monkeypatch, grad_clip):
    found = {}
    for name, devices in (("now", set()), ("later", {"cpu"})):
        monkeypatch.setattr(base, "LATER", devices)
        (tmp_path / name).mkdir()
        module, _ = train(tmp_path / name, 12, module=make_module(log_every=5, grad_clip=grad_clip))
        assert module.settles_later == (name == "later")
        assert module.measured.train["train/grad_norm"] > 0.1
        found[name] = weights(module), rows(tmp_path / name, "train"), module.measured.tokens_seen
    (now, losses, seen), (later, later_losses, later_seen) = found["now"], found["later"]
    assert (losses.keys(), seen) == (later_losses.keys(), later_seen)
    assert [float(x) for x in later_losses.values()] == pytest.approx([float(x) for x in losses.values()], rel=1e-4)
    for name, value in now.items():  # clipped by a factor here, by a divisor there
        torch.testing.assert_close(later[name], value, rtol=1e-4, atol=1e-4)  # a step is 1e-2


def test_N21_a_stop_right_after_an_update_that_was_none_keeps_the_evidence(tmp_path, settled):
    class Poison(Callback):
        def on_train_batch_start(self, trainer, module, *_):
            if trainer.global_step == 3:
                module.model.blocks[1].mlp.down.weight.register_hook(lambda grad: grad * math.nan)
                module.stop_signal = int(signal.SIGTERM)

    with pytest.raises(NonFiniteError, match="step 4: "):
        train(tmp_path, 12, module=make_module(log_every=10), callbacks=[Poison()])
    assert torch.load(tmp_path / "checkpoints/evidence.pt", weights_only=True)["step"] == 3
    assert torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 3


def test_N21_an_average_takes_nothing_from_an_update_that_was_none(tmp_path, settled):
    class Poison(Callback):
        def on_train_batch_start(self, trainer, module, *_):
            if trainer.global_step == 3:
                module.model.blocks[1].mlp.down.weight.register_hook(lambda grad: grad * math.nan)

    with pytest.raises(NonFiniteError):
        train(tmp_path, 12, module=make_module(log_every=10), callbacks=[Poison()], ema=0.5, val_every=100)
    averaged = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    (tmp_path / "three").mkdir()
    train(tmp_path / "three", 3, module=make_module(log_every=10), ema=0.5, val_every=100)
    expected = torch.load(tmp_path / "three/checkpoints/last.ckpt", weights_only=True)
    (name,) = [key for key in expected["callbacks"] if "Averaging" in key]
    for key, value in expected["callbacks"][name]["average"].items():
        torch.testing.assert_close(averaged["callbacks"][name]["average"][key], value)


@pytest.mark.parametrize("due", [{}, {"val_every": 100}, {"val_every": 100, "checkpoint_every": 5}, {"max_steps": 5}])
def test_N21_nan_stops_before_the_update_and_keeps_the_evidence(tmp_path, settled, due):
    """Whatever comes after the update that was none: a validation, another update, a checkpoint, the end."""

    class Poison(Callback):
        def on_train_batch_start(self, trainer, module, *_):
            if trainer.global_step == 4:
                module.before = weights(module)
                module.model.blocks[1].mlp.down.weight.register_hook(lambda grad: grad * math.inf)

    module = make_module(log_every=10)
    with pytest.raises(NonFiniteError, match=r"step 5: .*blocks.1.mlp.down.weight"):
        train(tmp_path, due.pop("max_steps", 12), module=module, callbacks=[Poison()], **due)
    assert all(torch.equal(value, weights(module)[name]) for name, value in module.before.items())
    evidence = torch.load(tmp_path / "checkpoints/evidence.pt", weights_only=True)
    assert evidence["step"] == 4
    assert evidence["batch"][0]["ids"].shape == (2, SEQ_LEN)
    saved = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 4
    assert all(value.isfinite().all() for value in saved["state_dict"].values())


def test_S29_training_mode_is_back_after_validation(tmp_path):
    class Look(Callback):
        seen = True

        def on_train_batch_start(self, trainer, module, *_):
            self.seen &= all(m.training for m in module.model.modules())

    look = Look()
    train(tmp_path, 8, callbacks=[look])
    assert look.seen


def test_N42_a_uniform_byte_model_scores_eight_bits_per_byte():
    """256 bytes and one special: the special's loss and its bytes (none) stay out of bits per byte, not out of loss."""
    token_bytes = torch.tensor([1] * 256 + [0])
    targets = torch.tensor([[0, 255, 256, 7, IGNORE]])
    nll = torch.tensor([[math.log(256)] * 2 + [3.0] + [math.log(256), 0.0]])
    metrics = text_metrics(text_sums(nll, targets, token_bytes))
    assert metrics["bpb"] == pytest.approx(8.0)
    assert metrics["loss"] == pytest.approx((3 * math.log(256) + 3.0) / 4)
    assert metrics["perplexity"] == pytest.approx(math.exp(metrics["loss"]))


def test_step_seed_shares_nothing_between_neighbours():
    seeds = {step_seed(seed, step, rank) for seed in range(10) for step in range(100) for rank in range(8)}
    assert len(seeds) == 8000
    assert step_seed(1, 2, 3) == step_seed(1, 2, 3)
    assert max(seeds) < 2**63


def test_a_cpu_draws_as_after_manual_seed_without_asking_for_other_devices(monkeypatch):
    torch.manual_seed(7)
    wanted = torch.rand(5)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("a CPU's update needs no GPU's seed"))
    seed_generators(7, torch.device("cpu"))
    assert torch.equal(torch.rand(5), wanted)


@pytest.mark.parametrize("one_shape", [True, False])
def test_attention_that_plans_for_a_length_is_for_batches_of_one_shape(one_shape, monkeypatch):
    """cuDNN's plans: each new length of a text took 46 ms on an H100."""
    made = make_module()
    assert (type(made).one_shape, SFTModule.one_shape) == (True, False)
    monkeypatch.setattr(type(made), "one_shape", one_shape)
    monkeypatch.setattr(type(made), "trainer", SimpleNamespace(strategy=None))
    with any_length():  # and the setting back in the end
        made.configure_model()
        assert torch.backends.cuda.cudnn_sdp_enabled() == one_shape
        with writing(made.model):  # lengths grow by one
            assert not torch.backends.cuda.cudnn_sdp_enabled()
        assert torch.backends.cuda.cudnn_sdp_enabled() == one_shape
