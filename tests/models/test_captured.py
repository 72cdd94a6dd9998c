"""Tokens read by one step that is the same each time (models/captured.py): what the plain way gives.

On a CPU nothing is captured, but the same step runs: one slot of a cache that is seen whole. On a GPU it is a graph.
"""

from functools import partial

import pytest
import torch

from models import captured, windows
from models.captured import Captured
from models.continuous import Continuous, Request
from models.generation import Memory, generate, stream
from models.gpt import GPT
from models.layers.cache import KVCache
from models.sampling import GREEDY, PLAIN, Sampling
from models.transformer import Transformer

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIZES = {"vocab_size": 50, "seq_len": 48, "n_layer": 3, "n_head": 4, "n_embd": 32}
MODELS = {
    "gpt": partial(GPT, **SIZES),
    "windows and sinks": partial(
        Transformer, **SIZES, n_kv_head=2, window=9, window_layers=[0, 2], sinks="learned", qk_norm="head"
    ),
    "nanochat's": partial(Transformer, **SIZES, value_embeds=True, lambdas=True, backout=True, softcap=5.0),
    "learned positions": partial(Transformer, **SIZES, position="learned", embed_scale=1.5, logits_scaling=2.0),
}


@pytest.fixture
def steps(monkeypatch):
    """How many steps were run by `Captured`; everything that can be, is, and few slots are seen at once."""
    count = []
    run = captured._Step.run
    monkeypatch.setattr(captured._Step, "run", lambda self: (count.append(self.slot.seen), run(self))[1])
    monkeypatch.setattr(captured, "SEEN", 16)
    return count


def model_of(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    model = MODELS[name]()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model.to(DEVICE, torch.float32 if DEVICE == "cuda" else torch.float64).eval()


def written(model, monkeypatch, *, capture: bool, **how):
    monkeypatch.setattr(windows, "is_capturable", lambda model: capture)
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(0, 50, (n,), generator=generator).tolist() for n in (3, 7, 20, 40)]
    return generate(model, prompts, **how)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "how",
    [
        {"batch_size": 1, "sampling": GREEDY},
        {"batch_size": 4, "stop_ids": [3]},  # rows of unequal length, which end one after the other
        {"batch_size": 8, "n": 2, "sampling": Sampling(temperature=0.7, repetition_penalty=1.2)},
    ],
    ids=["one row", "rows that stop", "several of each"],
)
def test_the_same_text_as_without(name, how, steps, monkeypatch):
    """60 tokens in a context of 48: the window slides as well (N43)."""
    model, how = model_of(name), {"max_new_tokens": 60, "sampling": PLAIN} | how
    plain = written(model, monkeypatch, capture=False, **how)
    assert not steps
    found = written(model, monkeypatch, capture=True, **how)
    assert len(set(steps)) > 1  # several numbers of slots
    # fp32 log-probabilities of fp64 logits up to 16: rounded once or twice, 2e-6 each; a GPU's products are in TF32
    bound = 1e-5 if DEVICE == "cpu" else 1e-3
    for mine, theirs in zip(found, plain, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert a.ids == b.ids
            torch.testing.assert_close(torch.tensor(a.logprobs), torch.tensor(b.logprobs), rtol=0, atol=bound)


def test_what_memory_held_before_is_not_seen(steps, monkeypatch):
    """Slots that are not filled yet may hold what is no number; times a weight of 0 it would be none either."""
    plain_cache = KVCache._put
    model = model_of("gpt")
    spoilt = []

    def put(self, layer, k, v, slot):
        if not spoilt:  # as memory comes: the first captured step finds it so
            spoilt.append(True)
            for stored in (*self._keys, *self._values):
                assert not stored[:, :, int(slot.at) :].any()
        return plain_cache(self, layer, k, v, slot)

    monkeypatch.setattr(KVCache, "_put", put)
    empty = torch.Tensor.new_empty
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda self, *size: empty(self, *size).fill_(torch.nan))
    (found,) = written(model, monkeypatch, capture=True, max_new_tokens=20, batch_size=1)[:1]
    assert spoilt
    assert all(logprob == logprob for logprob in found[0].logprobs)


def test_a_servers_rows_come_and_go(steps, monkeypatch):
    """Each joins what is written already, in other memory then; the first leaves while the others write on (N43)."""
    model = model_of("gpt")

    def written_by_server(capture: bool) -> dict[int, list[int]]:
        monkeypatch.setattr(windows, "is_capturable", lambda model: capture)
        server, found = Continuous(model), {}
        due = {0: 30, 3: 12, 15: 45}  # by the step at which they come: how many tokens
        with torch.no_grad():
            for at in range(70):
                if at in due:
                    prompt = [1 + at, 2, 3]
                    server.join(Request(prompt, max_new_tokens=due[at], sampling=PLAIN, seed=at, n=1))
                for token in server.step():
                    found.setdefault(token.request.seed, []).append(token.id)
        return found

    plain = written_by_server(False)
    assert not steps
    assert written_by_server(True) == plain
    assert [len(ids) for ids in plain.values()] == [30, 12, 45]
    assert len(steps) > 20


def test_a_second_turn_goes_on_in_what_was_read(steps, monkeypatch):
    model = model_of("gpt")

    def two_turns(capture: bool) -> list[int]:
        monkeypatch.setattr(windows, "is_capturable", lambda model: capture)
        memory, prompt = Memory(), [3, 1, 4] * 6
        for more in ([5, 9], [2, 6]):
            prompt = [*prompt, *more]
            prompt += [token.id for token in stream(model, prompt, max_new_tokens=10, memory=memory)]
        return prompt

    plain = two_turns(False)
    assert two_turns(True) == plain
    assert len(steps) == 2 * (10 - 1 - captured.PATIENCE)


def test_memory_that_is_short_is_asked_for_once_a_text(steps, monkeypatch):
    asked = []

    def short(self):
        asked.append(self)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(captured._Step, "capture", short)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    model = model_of("gpt")
    plain = written(model, monkeypatch, capture=False, max_new_tokens=12, batch_size=1)
    assert written(model, monkeypatch, capture=True, max_new_tokens=12, batch_size=1) == plain
    assert len(asked) == 4
    assert model not in captured.REFUSED


def test_few_steps_are_not_worth_it_and_other_memory_begins_anew(steps):
    model, cache = model_of("gpt"), KVCache(3, 40)
    step = Captured(model).step
    with torch.no_grad():
        model(torch.tensor([[1, 2, 3]], device=DEVICE), cache=cache)
        token_B = torch.tensor([4], device=DEVICE)
        for _ in range(captured.PATIENCE):
            assert step(token_B, cache, [4]) is None
        assert step(token_B, cache, [4]) is not None
        assert cache.length == 4
        assert cache.slot is None
        cache.widen(50)
        assert step(token_B, cache, [5]) is not None  # the same row
        cache.select(torch.tensor([0], device=DEVICE))
        assert step(token_B, cache, [3]) is None  # another one
        cache.repeat(2)
        assert step(token_B.repeat(2), cache, [6, 6]) is None


def test_what_cannot_be_captured_runs_as_it_did(steps, monkeypatch, capsys):
    def broken(self):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(captured._Step, "capture", broken)
    model = model_of("gpt")
    plain = written(model, monkeypatch, capture=False, max_new_tokens=12, batch_size=1)
    capsys.readouterr()
    assert written(model, monkeypatch, capture=True, max_new_tokens=12, batch_size=1) == plain
    assert capsys.readouterr().out.count("without a CUDA graph") == 1  # of four texts
    assert not steps


def test_only_plain_models_on_a_gpu_are_captured(monkeypatch):
    model = model_of("gpt")
    assert captured.is_capturable(model) == (DEVICE == "cuda")
    head = type("Head", (), {"weight": type("Weight", (), {"device": torch.device("cuda")})})
    monkeypatch.setattr(GPT, "head", head)
    assert captured.is_capturable(model)
    handle = model.norm.register_forward_hook(lambda *_: None)  # as FSDP has them
    assert not captured.is_capturable(model)
    handle.remove()
    assert captured.is_capturable(model)
    captured.REFUSED.add(model)
    assert not captured.is_capturable(model)
    captured.REFUSED.discard(model)
    assert not captured.is_capturable(model.train())
