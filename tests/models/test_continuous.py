"""Continuous batching: a request gets what it gets alone, whoever joins and leaves beside it."""

import random

import numpy as np
import pytest
import torch

from models.continuous import Continuous, Request, prompt_logprobs
from models.generation import generate
from models.layers.moe.settings import MoESettings
from models.sampling import GREEDY, Sampling
from models.seq2seq import T5
from tests.models.test_generation import tiny, tiny_ngram, tiny_sinks, tiny_transformer


def tiny_nanochat():
    return tiny_transformer(smear=True, value_embeds=True, backout=True, lambdas=True)


def tiny_moe():
    return tiny_transformer(moe=MoESettings(n_experts=4, top_k=2, ff=16))


def no_cache():
    model = tiny()
    model.has_cache = False
    return model


MODELS = [tiny, tiny_ngram, tiny_transformer, tiny_sinks, tiny_nanochat, tiny_moe, no_cache]


def requests(count: int) -> list[Request]:
    """Prompts, lengths, sampling, seeds and ends at random, all within a vocabulary of 20 and a context of 8."""
    made = random.Random(0)
    hows = [GREEDY, Sampling(), Sampling(0.7, top_k=5), Sampling(1.0, top_p=0.8, repetition_penalty=1.3)]
    return [
        Request(
            [made.randrange(20) for _ in range(made.randint(1, 8))],
            made.randint(1, 30),
            sampling=made.choice(hows),
            n=made.choice([1, 1, 3]),
            seed=made.randrange(5),
            stop_ids=frozenset([made.randrange(20)]) if made.random() < 0.5 else frozenset(),
        )
        for _ in range(count)
    ]


def alone(model, r: Request):
    settings = {"sampling": r.sampling, "n": r.n, "seed": r.seed, "stop_ids": list(r.stop_ids)}
    return generate(model, [r.prompt], max_new_tokens=r.max_new_tokens, **settings)[0]


def served(model, wanted: list[Request], every: int, leaving: frozenset[int] = frozenset()):
    """{(request, row): tokens}; a request joins every so many steps, those of `leaving` leave after three."""
    batch, waiting, found, steps = Continuous(model.eval()), list(wanted), {}, 0
    while waiting or batch.rows:
        if waiting and steps % every == 0:
            batch.join(waiting.pop(0))
        for token in batch.step():
            found.setdefault((wanted.index(token.request), token.row), []).append(token)
        steps += 1
        for i in leaving:
            if len(found.get((i, 0), [])) == 3:
                batch.leave(wanted[i])
    return found


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("every", [1, 5])
def test_N43_joining_and_leaving_changes_nobodys_tokens(make, every):
    model, wanted = make(), requests(12)
    found = served(model, wanted, every)
    for i, request in enumerate(wanted):
        for row, expected in enumerate(alone(model, request)):
            tokens = found[i, row]
            assert [t.id for t in tokens] == expected.ids
            assert [t.logprob for t in tokens] == pytest.approx(expected.logprobs, abs=2e-4)
            assert [t.ended for t in tokens[:-1]] == [None] * (len(tokens) - 1)
            assert tokens[-1].ended == ("stop" if expected.stopped else "length")


def test_who_leaves_is_no_longer_computed_and_the_others_go_on():
    model, wanted = tiny(), [Request([1, 2, 3], 25, sampling=GREEDY), Request([4], 25, sampling=GREEDY)]
    found = served(model, wanted, every=1, leaving=frozenset([0]))
    assert len(found[0, 0]) == 3
    assert [t.id for t in found[1, 0]] == alone(model, wanted[1])[0].ids


def test_a_new_request_gets_its_first_token_in_the_next_step():
    batch, first, late = Continuous(tiny().eval()), Request([1], 25), Request([2, 3], 25)
    batch.join(first)
    for _ in range(4):
        list(batch.step())
    batch.join(late)
    assert [t.request for t in batch.step()] == [first, late]


def test_the_likeliest_tokens_are_those_of_the_distribution_that_is_drawn_from():
    model, request = tiny(), Request([1, 2], 1, sampling=Sampling(0.5, top_k=3), top=5)
    batch = Continuous(model.eval())
    batch.join(request)
    (token,) = batch.step()
    logits = model(torch.tensor([[1, 2]]), logits="last").logits[0, -1] / 0.5
    best = logits.topk(3)
    assert [id for id, _ in token.top] == best.indices.tolist()
    assert [value for _, value in token.top] == pytest.approx(best.values.log_softmax(-1).tolist(), abs=1e-5)


def test_log_probabilities_of_a_prompt_are_the_models():
    model = tiny().eval()
    first, *rest = prompt_logprobs(model, [3, 1, 4, 1], top=2)
    expected = model(torch.tensor([[3, 1, 4, 1]]), logits="all").logits[0].detach().log_softmax(-1)
    assert first is None
    assert [t.logprob for t in rest] == pytest.approx(
        [expected[i, id].item() for i, id in enumerate([1, 4, 1])], abs=1e-5
    )
    assert [t.top[0][0] for t in rest] == expected.argmax(-1).tolist()[:-1]


def test_encoder_decoders_take_turns():
    torch.manual_seed(0)
    model = T5(vocab_size=20, n_embd=16, n_head=2, n_inner=32, seq_len=16)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.5)
    wanted = [Request([3, 1, 4, 2], 9, sampling=GREEDY), Request([5, 2], 6, seed=3, n=2)]
    found = served(model, wanted, every=2)
    for i, request in enumerate(wanted):
        for row, expected in enumerate(alone(model, request)):
            assert [t.id for t in found[i, row]] == expected.ids


class Evens:
    """Forces 3 first, then allows even ids; after four new ids nothing."""

    def forced(self, ids):
        return [3] if len(ids) == 0 else []

    def allowed(self, ids):
        return np.arange(20) % 2 == (0 if len(ids) < 4 else 2)


def test_a_guided_request_gets_what_it_gets_alone_and_ends_where_nothing_may_follow():
    model = tiny().eval()
    guided = Request([5, 6], 4, sampling=Sampling(), n=2, seed=1, guide=lambda prompt: Evens())
    found = served(model, [requests(1)[0], guided], every=1)
    expected = generate(
        model, [[5, 6]], max_new_tokens=4, sampling=Sampling(), n=2, seed=1, guide=lambda prompt: Evens()
    )[0]
    for row, completion in enumerate(expected):
        ids = [token.id for token in found[1, row]]
        assert ids == completion.ids
        assert [token.logprob for token in found[1, row]] == pytest.approx(completion.logprobs, abs=1e-5)
        assert ids[0] == 3
        assert all(id % 2 == 0 for id in ids[1:])
    longer = Request([5, 6], 9, stop_ids=frozenset([19]), guide=lambda prompt: Evens())
    tokens = served(model, [longer, requests(1)[0]], every=1)[0, 0]
    assert (len(tokens), tokens[-1].id, tokens[-1].ended) == (5, 19, "stop")
