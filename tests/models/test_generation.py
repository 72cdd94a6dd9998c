"""Generation: a batch gives what each row gives alone, cache or not, also past the context; modes; stops."""

import pytest
import torch

from errors import RequestError
from models.generation import evaluating, generate, stream
from models.gpt import GPT
from models.layers.moe.settings import MoESettings
from models.layers.packing import PackedLinears
from models.ngram_gpt import NGramGPT
from models.sampling import GREEDY, Sampling
from models.transformer import Transformer

RAGGED = [[3, 1, 4, 1, 5], [9], [2, 6, 5], [3, 5, 8, 9, 7, 9, 3, 2]]


def tiny(**changes) -> GPT:
    torch.manual_seed(0)
    model = GPT(**({"vocab_size": 20, "seq_len": 8, "n_layer": 2, "n_head": 2, "n_embd": 8} | changes))
    for p in model.parameters():  # far from uniform, so that the likeliest token is clear
        torch.nn.init.normal_(p, std=0.5)
    return model


def tiny_ngram() -> NGramGPT:
    torch.manual_seed(0)
    model = NGramGPT(vocab_size=20, seq_len=8, n_layer=2, n_head=2, n_embd=8, mlp_ratio=2, ngram_orders=[2, 3],
                     ngram_rows=50, rope_base=100.0, softcap=15.0, embed_std=1.0, ngram_std=1.0)  # fmt: skip
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return model


def tiny_transformer(**changes) -> Transformer:
    torch.manual_seed(0)
    settings = {"vocab_size": 20, "seq_len": 8, "n_layer": 2, "n_head": 4, "n_kv_head": 2, "n_embd": 16} | changes
    model = Transformer(**settings)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return model


def tiny_sinks() -> Transformer:
    return tiny_transformer(window=3, sinks="tokens", n_sink=2)


def tiny_moe() -> Transformer:
    return tiny_transformer(moe=MoESettings(n_experts=4, top_k=2, ff=16))


def ids(completions):
    return [[c.ids for c in row] for row in completions]


def naive(model, prompt, n):
    """Greedy, everything read again for each token; a full window loses its older half."""
    window, new = list(prompt), []
    for _ in range(n):
        logits = model.eval()(torch.tensor([window]), logits="last").logits
        new.append(int(logits[0, -1].argmax()))
        window = [*window, new[-1]]
        if len(window) > model.seq_len:
            window = window[-(model.seq_len // 2) :]
    return new


@pytest.mark.parametrize("make", [tiny, tiny_ngram, tiny_transformer, tiny_sinks, tiny_moe])
@pytest.mark.parametrize("new", [3, 30], ids=["inside the context", "far past it"])
@pytest.mark.parametrize("use_cache", [True, False])
def test_N43_a_ragged_batch_gives_what_each_row_gives_alone(make, new, use_cache):
    model = make()
    expected = [[naive(model, prompt, new)] for prompt in RAGGED]
    settings = {"max_new_tokens": new, "sampling": GREEDY, "use_cache": use_cache}
    assert ids(generate(model, RAGGED, **settings)) == expected
    assert ids(generate(model, RAGGED, batch_size=1, **settings)) == expected
    assert [[[t.id for t in stream(model, prompt, **settings)]] for prompt in RAGGED] == expected


def test_draws_do_not_depend_on_the_batch_and_follow_the_seed():
    model = tiny()
    draw = lambda seed, **s: ids(generate(model, RAGGED, max_new_tokens=20, seed=seed, **s))  # noqa: E731
    assert draw(1) == draw(1, batch_size=1) == draw(1, batch_size=2)
    assert draw(1) != draw(2)
    streamed = [t.id for t in stream(model, RAGGED[0], max_new_tokens=20, seed=1)]
    assert streamed == draw(1)[0][0]


def test_n_samples_share_one_prefill(monkeypatch):
    model, read = tiny(), []
    forward = GPT.trunk
    monkeypatch.setattr(GPT, "trunk", lambda self, x, **k: read.append(tuple(x.shape)) or forward(self, x, **k))
    three = ids(generate(model, [[1, 2, 3]], n=3, max_new_tokens=4))[0]
    assert read == [(1, 3), (3, 1), (3, 1), (3, 1)]
    assert len({tuple(row) for row in three}) > 1
    assert all(len(row) == 4 for row in three)


def test_log_probabilities_are_the_models():
    model = tiny()
    (done,) = generate(model, [[1, 2]], max_new_tokens=5, sampling=Sampling(temperature=0.5))[0]
    out = model.eval()(torch.tensor([[1, 2, *done.ids]]), logits="all").logits[0]
    expected = (out / 0.5).log_softmax(-1)[1:-1].gather(-1, torch.tensor(done.ids).unsqueeze(-1)).squeeze(-1)
    assert done.logprobs == pytest.approx(expected.tolist(), abs=1e-5)


def test_rows_stop_each_at_their_own_end_and_the_others_go_on():
    model = tiny()
    free = ids(generate(model, RAGGED, max_new_tokens=12, sampling=GREEDY))
    end = free[0][0][2]
    stopped = generate(model, RAGGED, max_new_tokens=12, sampling=GREEDY, stop_ids=[end])
    for (whole,), (row,) in zip(free, stopped, strict=True):
        at = whole.index(end) + 1 if end in whole else 12
        assert (row.ids, row.stopped) == (whole[:at], end in whole)
    by_words = generate(model, RAGGED, max_new_tokens=12, sampling=GREEDY, stop=lambda new: len(new) == 2)
    assert ids(by_words) == [[row[:2]] for (row,) in free]


def test_repetition_penalty_knows_prompt_and_new_tokens():
    model = tiny()
    strong = Sampling(temperature=0, repetition_penalty=1e6)
    (row,) = generate(model, [[1, 2, 3]], max_new_tokens=5, sampling=strong)[0]
    assert len({1, 2, 3, *row.ids}) == 8


def test_rows_that_only_pad_the_embedding_are_never_drawn():
    model = tiny()
    free = ids(generate(model, RAGGED, max_new_tokens=20, seed=3))
    assert max(max(row) for (row,) in free) >= 10
    model.n_ids = 10
    kept = ids(generate(model, RAGGED, max_new_tokens=20, seed=3, sampling=Sampling(repetition_penalty=1.1)))
    assert max(max(row) for (row,) in kept) < 10


def test_wrong_prompts_are_refused():
    with pytest.raises(RequestError, match="longer than the model's context of 8"):
        generate(tiny(), [[1] * 9], max_new_tokens=1)
    with pytest.raises(RequestError, match="empty prompt"):
        generate(tiny(), [[]], max_new_tokens=1)
    with pytest.raises(RequestError, match="max_new_tokens=0"):
        generate(tiny(), [[1]], max_new_tokens=0)


@pytest.mark.parametrize("tokens", [1, 2, 4, 5, 7])
@pytest.mark.parametrize("vocab_size", [8, 11])
def test_slices_serve_a_row_that_reads_several_tokens(tokens, vocab_size):
    model, x = tiny(bias=True, vocab_size=vocab_size).eval(), torch.arange(tokens).unsqueeze(0)
    with torch.no_grad(), PackedLinears(model, rows=1).active():
        sliced = model(x, logits="all").logits
    torch.testing.assert_close(sliced, model(x, logits="all").logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("vocab_size", [8, 11])  # 11 does not divide into slices
def test_packed_layers_give_the_same_and_leave_no_trace(rows, vocab_size):
    model, x = tiny(bias=True, vocab_size=vocab_size).eval(), torch.tensor([[1], [2], [3]])[:rows]
    before, names = model(x, logits="all").logits, list(model.state_dict())
    packed = PackedLinears(model, rows=rows)
    with torch.no_grad(), packed.active():
        assert "forward" in model.lm_head.__dict__
        assert torch.allclose(model(x, logits="all").logits, before, atol=1e-5)
    assert all("forward" not in m.__dict__ for m in model.modules())
    assert list(model.state_dict()) == names


def test_S29_each_submodule_keeps_its_mode():
    model = tiny(dropout=0.5).train()
    model.blocks[1].eval()
    before = {name: m.training for name, m in model.named_modules()}
    generate(model, [[0]], max_new_tokens=3)
    for token in stream(model, [0], max_new_tokens=3):
        assert token.row == 0
        assert {name: m.training for name, m in model.named_modules()} == before
    assert {name: m.training for name, m in model.named_modules()} == before


def test_S29_modes_come_back_after_an_error_too():
    model = tiny().train()
    with pytest.raises(KeyError), evaluating(model):
        {}["the body fails"]
    assert model.training


def test_what_was_compiled_for_training_writes_uncompiled():
    """Caches grow with each token: each layer, and each number of rows, would be compiled anew."""
    model, compiled = tiny(), []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    expected = generate(model, [[1, 2, 3]], max_new_tokens=4, sampling=GREEDY)
    model.compile(backend=backend)
    assert generate(model, [[1, 2, 3]], max_new_tokens=4, sampling=GREEDY) == expected
    assert not compiled
    model(torch.tensor([[1, 2, 3]]), logits="last")
    assert compiled
