"""What was read is not read again, across a batch and across the turns of a conversation; the logits are the same."""

import pytest
import torch

from models.generation import Memory, generate, stream
from models.gpt import GPT
from models.layers import packing
from models.sampling import GREEDY
from models.speculative import Draft
from models.windows import Windows, common
from tests.models.test_continuous import tiny_nanochat
from tests.models.test_generation import ids, naive, tiny, tiny_ngram, tiny_sinks, tiny_transformer
from tests.models.test_speculative import near

MODELS = [tiny, tiny_ngram, tiny_transformer, tiny_sinks, tiny_nanochat]
SYSTEM = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3]  # 18 tokens


def long(make, **changes):
    """The model with a context of 64."""
    if make in (tiny, tiny_transformer):
        return make(seq_len=64, **changes).eval()
    made = {
        tiny_ngram: lambda: tiny_ngram,
        tiny_sinks: lambda: tiny_transformer(seq_len=64, window=3, sinks="tokens", n_sink=2),
        tiny_nanochat: lambda: tiny_transformer(seq_len=64, smear=True, value_embeds=True, backout=True, lambdas=True),
    }[make]()
    return made.eval() if make is not tiny_ngram else ngram()


def ngram():
    model = tiny_ngram()
    fresh = type(model)(vocab_size=20, seq_len=64, n_layer=2, n_head=2, n_embd=8, mlp_ratio=2, ngram_orders=[2, 3],
                        ngram_rows=50, rope_base=100.0, softcap=15.0, embed_std=1.0, ngram_std=1.0)  # fmt: skip
    fresh.load_state_dict(model.state_dict())
    return fresh.eval()


class Reading:
    """Counts the tokens that a model reads, padding included."""

    def __init__(self, model, monkeypatch):
        self.tokens, trunk = 0, model.trunk

        def counted(ids_BT, **more):
            self.tokens += ids_BT.numel()
            return trunk(ids_BT, **more)

        monkeypatch.setattr(model, "trunk", counted)


@pytest.mark.parametrize("make", MODELS)
def test_what_prompts_begin_with_is_read_once(make, monkeypatch):
    model = long(make)
    prompts = [[*SYSTEM, *tail] for tail in ([1], [7, 7, 2], [4, 11, 13, 2], [1, 19])]
    alone = [Windows(model, [prompt], use_cache=True).prefill(5, 1) for prompt in prompts]
    reading = Reading(model, monkeypatch)
    with torch.no_grad():
        together = Windows(model, prompts, use_cache=True).prefill(5, 1)
    assert reading.tokens == len(SYSTEM) + 4 * 4
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)
    found = ids(generate(model, prompts, max_new_tokens=6, sampling=GREEDY, n=2))
    assert found == [[naive(model, prompt, 6)] * 2 for prompt in prompts]


def test_a_prompt_that_is_the_beginning_of_others_keeps_a_token_of_its_own():
    model = long(tiny)
    prompts = [SYSTEM, [*SYSTEM, 4, 4], SYSTEM]
    assert ids(generate(model, prompts, max_new_tokens=3, sampling=GREEDY)) == [[naive(model, p, 3)] for p in prompts]
    assert common([[1, 2, 3], [1, 2], [1, 2, 9]]) == 2
    assert common([[1, 2], [2, 2], [1, 2]]) == 0


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("drafted", [False, True])
def test_a_turn_reads_what_is_new_alone_and_is_answered_the_same(make, drafted, monkeypatch):
    model, draft = long(make), Draft(near(long(make)), 3) if drafted else None
    memory, text, read = Memory(), [*SYSTEM], []
    reading = Reading(model, monkeypatch)
    for question in ([1], [7, 7, 2], [4, 11, 13]):
        text += question
        before = reading.tokens
        settings = {"max_new_tokens": 6, "sampling": GREEDY, "draft": draft}
        answer = [token.id for token in stream(model, text, memory=memory, **settings)]
        read.append(reading.tokens - before)
        assert answer == naive(model, text, 6)
        text += answer
    if not drafted:  # the last token of an answer is not read with it
        assert read == [len(SYSTEM) + 1 + 5, 1 + 3 + 5, 1 + 3 + 5]


def test_a_conversation_that_goes_on_differently_is_read_from_where_it_does(monkeypatch):
    for make, again in ((tiny, 3 + 5), (tiny_ngram, len(SYSTEM) + 3 + 5)):  # n-grams know the end alone
        model, memory = long(make), Memory()
        list(stream(model, [*SYSTEM, 1, 2], max_new_tokens=6, sampling=GREEDY, memory=memory))
        reading = Reading(model, monkeypatch)
        other = [*SYSTEM, 8, 8, 8]
        answer = [t.id for t in stream(model, other, max_new_tokens=6, sampling=GREEDY, memory=memory)]
        assert reading.tokens == again
        assert answer == naive(model, other, 6)


def test_a_window_that_has_slid_is_read_anew():
    model, memory = tiny(seq_len=24), Memory()
    for text in (SYSTEM, [*SYSTEM, 1, 2], [*SYSTEM, 1, 2, 7]):
        answer = [t.id for t in stream(model, text, max_new_tokens=12, sampling=GREEDY, memory=memory)]
        assert answer == naive(model, text, 12)
    assert isinstance(model, GPT)


def test_a_turn_is_read_by_the_weights_as_they_lie(monkeypatch):
    """One row's packed copies would be all weights a second time, for the reading of a question."""
    packed = []
    real = packing._packed
    monkeypatch.setattr(packing, "_packed", lambda layer, rows: packed.append(rows) or real(layer, rows))
    model, memory = long(tiny), Memory()
    text = [*SYSTEM]
    for question in ([], [1, 2, 3, 4, 5]):
        text += question
        text += [token.id for token in stream(model, text, max_new_tokens=20, memory=memory)]
    assert memory.engine.packed is not None
    assert packed == []
