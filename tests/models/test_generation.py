"""Sampling: filters by hand, seeds, the end of text, the sliding window, and the mode of the model afterwards."""

import pytest
import torch

from models.generation import evaluating, filter_logits, generate, sample
from models.gpt import GPT


def tiny(**changes) -> GPT:
    torch.manual_seed(0)
    return GPT(**({"vocab_size": 20, "seq_len": 8, "n_layer": 2, "n_head": 2, "n_embd": 8} | changes))


def tokens(model, start, n, **settings):
    return torch.stack(list(generate(model, start, max_new_tokens=n, **settings)), dim=1)


def test_filters_by_hand():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    kept = lambda **f: (filter_logits(logits, **f) > -torch.inf).tolist()[0]  # noqa: E731
    assert kept(top_k=2) == [True, True, False, False]
    assert kept(top_p=0.5) == [True, False, False, False]
    assert kept(top_p=0.51) == [True, True, False, False]  # the token that crosses p is kept
    assert kept(top_p=1.0) == [True] * 4
    assert kept(top_k=3, top_p=0.6) == [True, True, False, False]


def test_temperature_scales_the_odds():
    logits = torch.tensor([[0.0, 1.0]]).expand(20_000, 2)
    draw = sample(logits, temperature=2.0, generator=torch.Generator().manual_seed(1))
    assert draw.float().mean().item() == pytest.approx(torch.tensor(0.5).sigmoid().item(), abs=0.02)


def test_greedy_equals_recomputing_everything_each_time():
    model, ids = tiny(), torch.randint(0, 20, (2, 3))
    expected = ids
    for _ in range(5):
        best = model.eval()(expected, logits="last").logits[:, -1].argmax(-1, keepdim=True)
        expected = torch.cat([expected, best], dim=1)
    assert tokens(model, ids, 5, temperature=0).tolist() == expected[:, 3:].tolist()


def test_goes_on_past_the_context_and_past_a_long_prompt():
    model = tiny()
    assert tokens(model, torch.zeros(1, 3, dtype=torch.long), 30).shape == (1, 30)
    long = torch.randint(0, 20, (1, 19))
    assert tokens(model, long, 5, temperature=0).tolist() == tokens(model, long[:, -8:], 5, temperature=0).tolist()


def test_same_seed_same_text():
    model, start = tiny(), torch.zeros(1, 1, dtype=torch.long)
    draw = lambda seed: tokens(model, start, 20, generator=torch.Generator().manual_seed(seed)).tolist()  # noqa: E731
    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_stops_when_every_row_has_ended():
    model, start = tiny(), torch.zeros(1, 1, dtype=torch.long)
    first = tokens(model, start, 1, temperature=0)[0, 0].item()
    assert tokens(model, start, 10, temperature=0, stop=first).shape == (1, 1)


def test_S29_each_submodule_keeps_its_mode():
    model = tiny(dropout=0.5).train()
    model.blocks[1].eval()
    before = {name: m.training for name, m in model.named_modules()}
    list(generate(model, torch.zeros(1, 1, dtype=torch.long), max_new_tokens=3))
    assert {name: m.training for name, m in model.named_modules()} == before


def test_S29_modes_come_back_after_an_error_too():
    model = tiny().train()
    with pytest.raises(KeyError), evaluating(model):
        {}["the body fails"]
    assert model.training
