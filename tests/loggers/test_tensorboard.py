"""What TensorBoard opens with."""

import re
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

from loggers.tensorboard import LAYOUT, TensorBoard


def test_curves_that_belong_together_are_in_one_chart(tmp_path: Path) -> None:
    logger = TensorBoard(run_dir=tmp_path, start_step=0)
    logger.log_metrics({"train/loss": 2.0, "val/loss": 1.0}, step=1)
    logger.log_metrics({"train/loss": 1.0}, step=2)
    logger.save()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    layout = Layout()
    (event,) = events.Tensors("custom_scalars__config__")  # once, however much is logged
    layout.ParseFromString(event.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == list(LAYOUT)
    charts = {chart.title: list(chart.multiline.tag) for chart in layout.category[0].chart}
    routing = {chart.title: list(chart.multiline.tag) for chart in layout.category[2].chart}
    assert any(re.search(pattern, "train/moe/load_entropy/layer_0") for pattern in routing["load entropy"])
    for tag in ("train/loss", "val/loss"):
        assert any(re.search(pattern, tag) for pattern in charts["loss"])
