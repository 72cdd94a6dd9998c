"""The picture of the experts' loads: its greys, and that it covers the updates since the last one."""

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks.routing import PIXELS, RoutingPicture, load_picture
from loggers.tensorboard import TensorBoard
from tests.models.moe.rank_worker import make_module
from tests.small import RandomTokens, make_trainer


def test_greys_by_hand():
    picture = load_picture(torch.tensor([[4.0, 4, 4, 4], [16, 0, 0, 0]]))
    assert picture.shape == (2 * PIXELS, 4 * PIXELS)
    assert picture[::PIXELS, ::PIXELS].tolist() == [[0.5] * 4, [1, 0, 0, 0]]


def test_N24_a_picture_after_each_validation(tmp_path):
    callback, seen = RoutingPicture(), []
    trainer = make_trainer(
        tmp_path, max_steps=7, callbacks=[callback], loggers=[TensorBoard(run_dir=tmp_path, start_step=0)]
    )
    module = make_module()
    original = callback.on_validation_end
    callback.on_validation_end = lambda *args: (seen.append(callback._loads_LE.sum().item()), original(*args))
    trainer.fit(module, RandomTokens())  # validates after steps 5 and 7
    assert seen == [5 * 2 * 16 * 2, 2 * 2 * 16 * 2]  # layers x tokens x experts per token, of each update
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [image.step for image in events.Images("moe/loads")] == [5, 7]
