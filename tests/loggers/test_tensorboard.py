"""What TensorBoard opens with."""

import re
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

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


def test_F44_HPARAMS_compares_by_where_curves_end_without_a_chart_of_one_point(tmp_path: Path) -> None:
    logger = TensorBoard(run_dir=tmp_path, start_step=0)
    for step, loss in enumerate((2.0, 1.0), 1):
        logger.log_metrics({"val/loss": loss}, step=step)
    logger.finalize("success")
    logger.compare({"optimizer.lr": 0.1, "model": "moe"}, ["val/loss"])
    logger.experiment.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert events.Tags()["scalars"] == ["val/loss"]
    assert [event.value for event in events.Scalars("val/loss")] == [2.0, 1.0]
    told = {tag: HParamsPluginData.FromString(data) for tag, data in events.PluginTagToContent("hparams").items()}
    assert [m.name.tag for m in told["_hparams_/experiment"].experiment.metric_infos] == ["val/loss"]
    hparams = told["_hparams_/session_start_info"].session_start_info.hparams
    assert (hparams["optimizer.lr"].number_value, hparams["model"].string_value) == (0.1, "moe")
