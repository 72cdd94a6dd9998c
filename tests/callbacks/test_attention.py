"""The picture of attention: its greys, and one after each validation, of the same text; three of an encoder-decoder."""

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from batch import IGNORE
from callbacks.attention import PIXELS, AttentionPicture, head_picture, pictures_of
from loggers.tensorboard import TensorBoard
from models.seq2seq import T5
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


def test_of_an_encoder_decoder_each_side_and_where_answers_look():
    """A source of 3 tokens, an answer of 5: fields of 3 x 3, 5 x 5, and 5 rows over 3 columns; padding is left out."""
    torch.manual_seed(0)
    model = T5(vocab_size=20, n_layer=2, n_head=2, n_embd=8, n_inner=8, seq_len=16).eval()
    ids = torch.randint(1, 20, (1, 10))
    targets = torch.tensor([[*[IGNORE] * 3, 5, 6, 7, 8, 9, *[IGNORE] * 2]])
    found = pictures_of(model, {"ids": ids, "targets": targets}, 8, torch.device("cpu"))
    sizes = {"encoder": (3, 3), "decoder": (5, 5), "source": (5, 3)}
    assert found.keys() == {f"attention/{part}" for part in sizes}
    weights = model.attention_weights(ids[:, :8], source_B=torch.tensor([3]))
    for part, (rows, columns) in sizes.items():
        edge = PIXELS // max(rows, columns)
        assert found[f"attention/{part}"].shape == (2 * (rows * edge + 6), 2 * (columns * edge + 6)), part
    edge = PIXELS // 5
    look = weights[model.attention_names.index("decoder layer 0, at the source")][0, 0, 3 + 4, 1]
    assert found["attention/source"][3 + 4 * edge, 3 + 1 * edge] == 1 - look.sqrt()
    assert look > 0
    assert pictures_of(model, {"ids": ids, "targets": torch.full_like(ids, IGNORE)}, 8, ids.device) == {}
