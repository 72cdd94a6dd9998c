"""The picture of attention: its greys, and one after each validation, of the same text."""

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks.attention import PIXELS, AttentionPicture, head_picture
from loggers.tensorboard import TensorBoard
from tests.small import RandomTokens, make_module, make_trainer


def test_greys_by_hand():
    weights = torch.tensor([[1.0, 0.0], [0.25, 0.75]])[None, None]
    edge = PIXELS // 2
    picture = head_picture([weights.expand(1, 2, 2, 2), weights])
    assert picture.shape == (2 * (PIXELS + 6), 2 * (PIXELS + 6))
    assert picture[3, 3] == 0
    assert picture[3 + edge, 3] == 0.5
    assert picture[0].eq(1).all()
    assert picture[-1, PIXELS + 6 :].eq(1).all(), "a layer with fewer heads leaves white"


def test_a_picture_after_each_validation(tmp_path):
    trainer = make_trainer(
        tmp_path,
        max_steps=7,
        callbacks=[AttentionPicture(tokens=5)],
        loggers=[TensorBoard(run_dir=tmp_path, start_step=0)],
    )
    module = make_module(dropout=0.5)
    trainer.fit(module, RandomTokens())
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    images = events.Images("attention")
    assert [image.step for image in images] == [5, 7]
    edge = 2 * (5 * (PIXELS // 5) + 6)
    assert (images[0].width, images[0].height) == (edge, edge)
    assert module.model.training, "evaluation mode is left again"
