"""Past the context: what a cache forgets and turns back is what a model without the forgotten tokens would hold."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from errors import RequestError
from evaluation.past_context import given_up, spans, streamed_nll, text_starts, ways
from launcher.cli import main
from models.gpt import GPT
from models.layers.cache import KVCache
from models.transformer import Transformer

ROOT = Path(__file__).parents[2]
VOCAB, CONTEXT = 17, 8


def make(**changes):
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCAB, "seq_len": 40, "n_layer": 2, "n_head": 2, "n_embd": 16}
    model = Transformer(**(sizes | changes))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model.eval()


def draw(B, T):
    return torch.randint(0, VOCAB, (B, T), generator=torch.Generator().manual_seed(1))


def plain_nll(model, ids):
    out = model(ids[:, :-1], targets_BT=ids[:, 1:])
    return out.nll_BT.double().numpy()


@torch.no_grad()
@pytest.mark.parametrize(
    "changes",
    [{}, {"sinks": "tokens", "n_sink": 3}, {"rope_scaling": "yarn", "rope_factor": 4.0, "rope_trained_len": 8}],
    ids=["plain", "sinks", "yarn"],
)
def test_keys_turned_back_are_those_of_the_same_tokens_further_left(changes):
    """In the first layer keys know their token and position alone: they must be what a fresh reading gives."""
    model, ids = make(**changes), draw(2, 8)
    cache = KVCache(2)
    model(ids, cache=cache)
    cache = given_up(model, cache, ids, half=4, keep=model.n_sink, reread=False)
    fresh = given_up(model, KVCache(2), ids, half=4, keep=model.n_sink, reread=True)
    assert cache.length == fresh.length == 4 + model.n_sink
    for mine, theirs in ((cache._keys[0], fresh._keys[0]), (cache._values[0], fresh._values[0])):
        torch.testing.assert_close(mine[:, :, : cache.length], theirs[:, :, : cache.length], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_each_way_remembers_what_it_says():
    ids = draw(3, 21)
    one = make(n_layer=1)  # one layer: a token's loss depends on which tokens are remembered, and on nothing else
    found = {way: streamed_nll(one, ids, context=CONTEXT, way=way) for way in ways(one)}
    assert list(found) == ["reread", "slide", "first", "grow"]
    np.testing.assert_allclose(found["grow"], plain_nll(one, ids), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["slide"], found["reread"], rtol=1e-4, atol=1e-5)
    # tokens 12 to 15 are predicted from 8 on; `first` has 0 to 3 instead of 8 to 11
    np.testing.assert_allclose(found["reread"][:, 12:16], plain_nll(one, ids[:, 8:17])[:, 4:8], rtol=1e-4, atol=1e-5)
    kept = torch.cat([ids[:, :4], ids[:, 12:17]], dim=1)
    np.testing.assert_allclose(found["first"][:, 12:16], plain_nll(one, kept)[:, 4:8], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_reserved_sinks_stay_and_nothing_changes_within_the_context():
    ids = draw(2, 21)
    model = make(sinks="tokens", n_sink=2, n_layer=1)
    assert ways(model) == ["reread", "slide", "grow"]
    found = [streamed_nll(model, ids, context=CONTEXT, way=way) for way in ways(model)]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-5)
    for nll in found:
        np.testing.assert_allclose(nll[:, :8], plain_nll(model, ids[:, :9]), rtol=1e-4, atol=1e-5)


def test_learned_positions_can_only_be_read_again():
    model = GPT(vocab_size=VOCAB, seq_len=CONTEXT, n_layer=1, n_head=2, n_embd=8)
    assert ways(model) == ["reread"]
    assert streamed_nll(model, draw(2, 30), context=CONTEXT, way="reread").shape == (2, 29)


def test_spans_double_and_texts_are_spread():
    nll = np.full((2, 30), np.log(5.0))
    found = spans(nll, context=8)
    assert [(s.start, s.end) for s in found] == [(0, 8), (8, 16), (16, 30)]
    assert found[2].perplexity.value == pytest.approx(5)
    assert text_starts(100, length=30, most=8, context=8).tolist() == [0, 34, 69]
    with pytest.raises(RequestError, match=r"evaluate\.past_context=64"):
        text_starts(100, length=8, most=8, context=8)
    with pytest.raises(RequestError, match="100 tokens, less than one such text"):
        text_starts(100, length=200, most=8, context=8)


@pytest.mark.slow
def test_a_table_and_a_figure_of_two_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("to be or not to be, that is the question. " * 40)
    words = ["model=modern", "data=text", "data.path=text.txt", "data.val_fraction=0.3", "model.n_layer=1",
             "model.n_embd=8", "model.n_head=2", "model.seq_len=16", "trainer.max_steps=1", "trainer.val_every=1",
             "logger=none", "hardware=cpu"]  # fmt: skip
    assert main([*words, "run_dir=plain"], root=ROOT) == 0
    shutil.copytree("plain", "other")
    shutil.copytree("plain", "sweep/plain")  # jobs of two sweeps bear the same names
    beside = "evaluate.beside=[other,sweep/plain]"
    asked = ["task=evaluate", "init_from=plain", "evaluate.past_context=64", beside, "run_dir=e"]
    assert main(asked, root=ROOT) == 0
    screen = capsys.readouterr().out
    assert "texts of 64 tokens, context 16" in screen
    assert Path("e/past_context.png").read_bytes()[:4] == b"\x89PNG"
    found = json.loads(Path("e/past_context.json").read_text())["perplexity"]
    assert list(found) == ["plain", "other", "sweep/plain"]
    assert found["plain"] == found["other"] == found["sweep/plain"]
    assert list(found["plain"]) == ["reread", "slide", "first", "grow"]
    config = Path("other/.hydra/config.yaml")
    config.write_text(config.read_text().replace("seq_len: 16", "seq_len: 32"))
    assert main(asked[:4], root=ROOT) == 2
    assert "a context of 32" in capsys.readouterr().err
