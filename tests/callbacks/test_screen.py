"""What one sees while a run goes on: metrics, samples, progress lines."""

import pytest
import torch
from lightning.pytorch import Callback

from callbacks.metrics import measured_matmul_flops
from callbacks.progress import Progress
from callbacks.sample_text import SampleText
from loggers.metrics_csv import MetricsCSV
from loggers.tensorboard import TensorBoard
from tests.small import RandomTokens, make_module, make_trainer
from tokenization.byte import ByteTokenizer


def train(folder, steps, callbacks=(), loggers=(), **settings):
    module = make_module(vocab_size=ByteTokenizer().vocab_size)
    trainer = make_trainer(folder, max_steps=steps, callbacks=callbacks, loggers=loggers, **settings)
    trainer.fit(module, RandomTokens())
    return trainer


def sampler(**changes):
    settings = {"prompt": "ab", "max_new_tokens": 12, "temperature": 1.0, "top_k": 50, "seed": 3} | changes
    return SampleText(tokenizer=ByteTokenizer(), **settings)


def test_a_sample_after_each_validation_on_screen_and_in_tensorboard(tmp_path, capsys):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tmp_path, 10, [sampler()], [TensorBoard(run_dir=tmp_path, start_step=0)])
    screen = capsys.readouterr().out
    assert screen.count("sample at step") == 2
    assert "    ab" in screen
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"tensors": 0}).Reload()
    samples = events.Tensors("sample/text_summary")
    assert [event.step for event in samples] == [5, 10]


def test_sampling_changes_nothing_in_training(tmp_path):
    weights = []
    for name, callbacks in (("with", [sampler()]), ("without", [])):
        (tmp_path / name).mkdir()
        trainer = train(tmp_path / name, 8, callbacks)
        weights.append(trainer.lightning_module.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_N37_every_scalar_has_its_step_and_tokens_seen_beside(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tmp_path, 10, loggers=[TensorBoard(run_dir=tmp_path, start_step=0)])
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    tags = set(events.Tags()["scalars"])
    assert {"train/loss", "train/grad_norm", "train/tokens_per_second", "val/loss", "tokens_seen"} <= tags
    tokens = {event.step: event.value for event in events.Scalars("tokens_seen")}
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, 11))
    assert all(tokens[step] == 16 * step for step in range(1, 11))


def test_N37_resumed_events_have_no_overlap_and_no_gap(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Die(Callback):
        def on_train_batch_start(self, trainer, *_):
            if trainer.global_step == 9:  # two steps after the checkpoint of step 7
                raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path, 20, [Die()], [TensorBoard(run_dir=tmp_path, start_step=0)])
    trainer = make_trainer(tmp_path, max_steps=12, loggers=[TensorBoard(run_dir=tmp_path, start_step=7)])
    module = make_module(vocab_size=ByteTokenizer().vocab_size)
    trainer.fit(module, RandomTokens(), ckpt_path=tmp_path / "checkpoints/last.ckpt", weights_only=True)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, 13))


def test_without_a_terminal_progress_is_lines(tmp_path, capsys):
    train(tmp_path, 6, [Progress(line_every_s=0.0)], [MetricsCSV(run_dir=tmp_path, start_step=0)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("step 1/6")
    assert any(line.startswith("step 5  val/loss") for line in lines)
    assert "loss" in lines[1]
    assert "tok/s" in lines[1]


@pytest.mark.slow
def test_validation_and_checkpoints_do_not_count_as_training_time(tmp_path):
    import time

    class Slow(Callback):
        def on_validation_end(self, *_):
            time.sleep(0.3)

    trainer = train(tmp_path, 12, [Slow()], [MetricsCSV(run_dir=tmp_path, start_step=0)], val_every=1, log_every=12)
    metrics = next(c for c in trainer.callbacks if type(c).__name__ == "Metrics")
    assert metrics.tokens_per_second > 16 / 0.3


def test_matmul_peak_is_a_plausible_number_of_flops():
    assert 1e8 < measured_matmul_flops(torch.device("cpu"), n=128, repeats=2) < 1e15
