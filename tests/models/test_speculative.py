"""Speculative decoding: the text is the model's alone, whatever the draft says; by enumeration, and row by row."""

import itertools

import pytest
import torch

from errors import RequestError
from models.generation import evaluating, generate, stream
from models.layers.cache import KVCache
from models.layers.moe.settings import MoESettings
from models.proposals import best_ahead, judge
from models.sampling import GREEDY, PLAIN, Sampling, distribution, draw, penalise
from models.seq2seq import T5
from models.speculative import Draft, Speculative, check_draft, rest
from tests.models.test_continuous import no_cache, tiny_moe, tiny_nanochat
from tests.models.test_generation import RAGGED, ids, naive, tiny, tiny_ngram, tiny_sinks, tiny_transformer
from tests.models.test_guides import After


def near(model, share: float = 0.15):
    """A model that agrees with another now and then."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p += share * torch.randn(p.shape, generator=generator)
    return model.eval()


@pytest.mark.parametrize("p", [[4, 3, 1, 0], [8, 0, 0, 0], [1, 1, 3, 3]])
@pytest.mark.parametrize("q", [[2, 2, 2, 2], [0, 3, 5, 0], [1, 1, 3, 3]])
def test_what_stays_or_is_drawn_instead_is_distributed_as_p(p, q):
    """All of a grid of 8 x 840 x 840 uniform numbers, on which every probability here is a whole number of points."""
    P, Q = torch.tensor([p], dtype=torch.float64) / 8, torch.tensor([q], dtype=torch.float64) / 8
    points = (torch.arange(840, dtype=torch.float64) + 0.5) / 840
    found = torch.zeros(4, dtype=torch.float64)
    for x, times in enumerate(q):
        drafted = torch.full((840, 1), x)
        stays = judge(P.expand(840, 1, 4), Q.expand(840, 1, 4), drafted, points.unsqueeze(1))[:, 0]
        instead = draw(rest(P, Q).expand(840, 4), points)
        share = stays.double().mean() if times else torch.tensor(1.0)
        found[x] += times / 8 * share
        found += times / 8 * (1 - share) * torch.bincount(instead, minlength=4) / 840
    torch.testing.assert_close(found, P[0], rtol=0, atol=1e-12)


def exact(model, prompt, new, how: Sampling) -> dict[tuple[int, ...], float]:
    """The probability of every text, by enumeration."""
    found = {(): 1.0}
    for _ in range(new):
        longer = {}
        for text, so_far in found.items():
            with torch.no_grad():
                logits = model.eval()(torch.tensor([[*prompt, *text]]), logits="last").logits[0, -1:].float()
            seen = torch.zeros_like(logits, dtype=torch.bool)
            seen[0, [*prompt, *text]] = True
            probs = distribution(penalise(logits, seen, how.repetition_penalty), how).exp()[0].double()
            longer |= {(*text, i): so_far * float(p) for i, p in enumerate(probs) if p > 0}
        found = longer
    return found


SAMPLINGS = [
    PLAIN,
    Sampling(0.6, top_k=3),
    Sampling(1.5, top_p=0.7),
    Sampling(1.0, min_p=0.2, repetition_penalty=1.7),
]


@pytest.mark.parametrize("how", SAMPLINGS)
@pytest.mark.parametrize("ahead", [2, None])
def test_texts_are_as_frequent_as_the_models_alone(how, ahead):
    """Every text of three tokens out of four, against its exact probability; a wrong rest or acceptance is far off."""
    n = 6000
    model, draft = tiny(vocab_size=4), near(tiny(vocab_size=4), 0.5)
    wanted = exact(model, [1, 2], 3, how)
    writes = Draft(draft, ahead)
    drawn = generate(model, [[1, 2]], max_new_tokens=3, n=n, batch_size=n, sampling=how, draft=writes)[0]
    counts = dict.fromkeys(itertools.product(range(4), repeat=3), 0)
    for completion in drawn:
        counts[tuple(completion.ids)] += 1
    for text, count in counts.items():
        p = wanted.get(text, 0.0)
        assert abs(count - n * p) <= 4.5 * (n * p * (1 - p)) ** 0.5 + (1 if p else 0), (text, count / n, p)
    assert 0.2 < writes.accepted / writes.judged < 0.98
    assert writes.written / writes.steps > 1.1


TARGETS = [tiny, tiny_ngram, tiny_transformer, tiny_sinks, tiny_moe, tiny_nanochat]


@pytest.mark.parametrize("make", TARGETS)
@pytest.mark.parametrize("new", [3, 12], ids=["inside the context", "far past it"])
def test_greedy_texts_are_the_models_in_a_ragged_batch_and_alone(make, new):
    model = make()
    expected = [[naive(model, prompt, new)] for prompt in RAGGED]
    for other in (near(make()), near(tiny_ngram())):
        draft = Draft(other, 3)
        settings = {"max_new_tokens": new, "sampling": GREEDY, "draft": draft}
        assert ids(generate(model, RAGGED, **settings)) == expected
        assert [t.id for t in stream(model, RAGGED[0], **settings)] == expected[0][0]


def longer(make):
    model = make(seq_len=32) if make in (tiny, tiny_transformer) else make()
    return model.eval()


@pytest.mark.parametrize("make", [tiny, tiny_transformer])
def test_a_draft_that_is_the_model_is_always_right(make):
    model, draft = longer(make), Draft(longer(make), 3)
    generate(model, RAGGED, max_new_tokens=20, sampling=GREEDY, draft=draft, n=2)
    assert draft.accepted == draft.judged > 20


@pytest.mark.parametrize("make", TARGETS)
@pytest.mark.parametrize("new", [4, 7, 13])
def test_what_a_draft_has_read_is_never_out_of_step(make, new):
    """Rows accept more and fewer tokens than others, and slide; then each is read on as it would be alone."""
    other = near(make())
    with evaluating(model := make()), torch.no_grad():
        engine = Speculative(model, [list(r) for r in RAGGED], [0, 1, 2, 3], Draft(other, 3), sampling=GREEDY, seed=0)
        tokens = engine.run(new + 8, 1, frozenset(), None)
        for _ in range(4 * new):
            next(tokens)
        for windows, lag in ((engine, 1), (engine.reader, engine.lag)):
            windows.slide(unread=lag, room=lag)
            hidden_BTC = windows.read_on([row[-lag:] for row in windows.ids])
            for row, used, hidden_TC in zip(windows.ids, windows.used, hidden_BTC, strict=True):
                alone = windows.model(torch.tensor([row[-lag - used :]])).hidden_BTC[0, -1]
                torch.testing.assert_close(hidden_TC[-1], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("context", [4, 5, 32])
def test_contexts_may_differ(context):
    model = tiny()
    expected = [[naive(model, prompt, 20)] for prompt in RAGGED]
    draft = Draft(near(tiny(seq_len=context)))
    assert ids(generate(model, RAGGED, max_new_tokens=20, sampling=GREEDY, draft=draft)) == expected


@pytest.mark.parametrize("how", [PLAIN, Sampling(1.0, top_p=0.8, repetition_penalty=1.3)])
@pytest.mark.parametrize("ahead", [3, None])
def test_draws_do_not_depend_on_the_batch(how, ahead):
    model = tiny_transformer()
    settings = {
        "max_new_tokens": 20,
        "seed": 1,
        "sampling": how,
        "n": 2,
        "draft": Draft(near(tiny_transformer()), ahead),
    }
    texts = ids(generate(model, RAGGED, **settings))
    assert texts == ids(generate(model, RAGGED, batch_size=2, **settings))
    assert [t.id for t in stream(model, RAGGED[0], **{k: v for k, v in settings.items() if k != "n"})] == texts[0][0]
    assert texts != ids(generate(model, RAGGED, **settings | {"seed": 2}))


def test_rows_stop_each_at_their_own_end():
    model, draft = tiny(), Draft(near(tiny()), 3)
    settings = {"max_new_tokens": 12, "sampling": GREEDY}
    end = ids(generate(model, RAGGED, **settings))[0][0][2]
    for how in ({"stop_ids": [end]}, {"stop": lambda new: len(new) == 4}, {"stop": lambda new: end in new}):
        plain, drafted = (generate(model, RAGGED, **settings, **how, **more) for more in ({}, {"draft": draft}))
        assert ids(plain) == ids(drafted)
        assert [[c.stopped for c in row] for row in plain] == [[c.stopped for c in row] for row in drafted]


def test_log_probabilities_are_the_models():
    model, how = tiny(seq_len=32), Sampling(0.7, top_k=9)
    (done,) = generate(model, [[1, 2]], max_new_tokens=12, sampling=how, draft=Draft(near(tiny(seq_len=32)), 4))[0]
    out = model.eval()(torch.tensor([[1, 2, *done.ids]]), logits="all").logits[0]
    expected = distribution(out, how)[1:-1].gather(-1, torch.tensor(done.ids).unsqueeze(-1)).squeeze(-1)
    assert done.logprobs == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4])
def test_guides_write_and_forbid_as_without_a_draft(at):
    """Forced ids wherever they fall: at the place that is drawn, among those that are drafted, or led away from."""
    model, draft = tiny(), Draft(near(tiny()), 3)
    those = [1, 4, 7, 9, 11, 13]
    settings = {"max_new_tokens": 9, "sampling": GREEDY, "guide": lambda prompt: After(at, [7, 8, 3], those)}
    plain, drafted = generate(model, RAGGED, **settings), generate(model, RAGGED, draft=draft, **settings)
    assert ids(plain) == ids(drafted)
    for (a,), (b,) in zip(plain, drafted, strict=True):
        assert list(a.forced) == list(b.forced) == list(range(at, at + 3))
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-5)


def test_a_draft_led_away_from_what_a_guide_forces_is_taken_back():
    """The guide writes after a certain id only; the draft believes in it, the model does not."""
    model, draft = tiny(), near(tiny(), 0.6)
    own, theirs = (ids(generate(m, [[9]], max_new_tokens=8, sampling=GREEDY))[0][0] for m in (model, draft))
    at = next(i for i, (a, b) in enumerate(zip(own, theirs, strict=True)) if a != b)

    class On(After):
        def forced(self, new):
            return [2, 2, 2] if list(new) == theirs[: at + 1] else []

    settings = {"max_new_tokens": 8, "sampling": GREEDY, "guide": lambda prompt: On()}
    assert ids(generate(model, [[9]], draft=Draft(draft, 3), **settings))[0][0] == own


def test_models_that_a_draft_cannot_serve_are_refused():
    t5 = T5(vocab_size=20, n_embd=16, n_head=2, n_inner=32, seq_len=16)
    choosing = tiny_transformer(
        moe=MoESettings(n_experts=4, top_k=2, ff=16, router="expert_choice", allow_noncausal=True)
    )
    dropping = tiny_transformer(moe=MoESettings(n_experts=4, top_k=2, ff=16, capacity_factor=1.0, eval_dropless=False))
    wrong = [
        (t5, tiny(), "encoder-decoder"),
        (tiny(), t5, "encoder-decoder"),
        (no_cache(), tiny(), "no keys and values"),
    ]
    wrong += [(tiny(seq_len=3), tiny(), "context of 3"), (choosing, tiny(), "experts"), (dropping, tiny(), "experts")]
    wrong += [(tiny(), tiny(vocab_size=19), "19 ids")]
    for model, draft, words in wrong:
        with pytest.raises(RequestError, match=words):
            check_draft(model, draft)
        with pytest.raises(RequestError, match=words):
            generate(model, [[1, 2]], max_new_tokens=3, draft=Draft(draft))
    with pytest.raises(RequestError, match="use_cache=False"):
        generate(tiny(), [[1, 2]], max_new_tokens=3, use_cache=False, draft=Draft(tiny()))
    check_draft(tiny_moe(), choosing)  # whatever a draft says


def test_tokens_ahead_are_as_many_as_pay():
    """(1 - a^(k+1)) / ((1 - a)(ck + 1)) for a = .8, c = .25, k = 1 .. 4: 1.44, 1.627, 1.687, 1.681."""
    assert best_ahead(0.8, 0.25, 12) == 3
    assert best_ahead(0.8, 0.25, 2) == 2
    assert best_ahead(0.0, 0.25, 12) == 1
    assert best_ahead(1.0, 0.01, 12) == 12


def test_a_cache_unreads_more_of_some_rows_than_of_others():
    cache = KVCache(1, 8)
    at = lambda first, n: (torch.arange(first, first + n).float() + torch.tensor([[0.0], [100.0]])).view(2, 1, n, 1)  # noqa: E731
    cache.append(0, at(0, 4), at(0, 4), 8)
    cache.length = 4
    cache.mark()
    cache.append(0, at(4, 3), at(4, 3), 8)
    cache.length = 7
    cache.rewind([1, 3], keep=1)
    keys, _ = cache.append(0, at(50, 1), at(50, 1), 8)
    assert keys[0].flatten().tolist() == [0, 1, 2, 3, 4, 5, 50]
    assert keys[1].flatten().tolist()[3:] == [101, 102, 103, 150]
    assert keys[1].flatten()[0] == 100


def test_the_words_say_acceptance_and_tokens_a_step():
    assert Draft(tiny(), judged=50, accepted=42, written=34, steps=10).words == (
        "0.84 of the draft's tokens accepted, 3.40 tokens a step"
    )
    assert Draft(tiny()).words == "no step was left for the draft"
    draft = Draft(near(tiny()), 3)
    (made,) = generate(tiny(), [[1, 2]], max_new_tokens=6, sampling=GREEDY, draft=draft)[0]
    assert draft.written == len(made.ids) - 1


def test_ids_that_one_embedding_only_pads_are_never_drawn():
    model = tiny()
    model.n_ids = 10
    for other in (near(tiny(vocab_size=24)), near(tiny(vocab_size=10))):
        found = ids(generate(model, RAGGED, max_new_tokens=20, seed=3, draft=Draft(other, 3)))
        assert 5 < max(max(row) for (row,) in found) < 10


@pytest.mark.parametrize("rows", [1, 3])
def test_heads_take_packed_layers_too_once_the_prompts_are_read(rows):
    """The head is the largest layer of a small draft. Its slow way is for the first reading of one row alone."""
    model, draft = longer(tiny), near(longer(tiny))
    read = {id(one.head): [] for one in (model, draft)}
    for one in (model, draft):
        one.head.register_forward_pre_hook(lambda head, given: read[id(head)].append("forward" in head.__dict__))
    generate(model, RAGGED[:rows], max_new_tokens=20, draft=Draft(draft, 3))
    for fast in read.values():
        assert len(fast) > 3
        assert all(fast[1:])
        assert fast[0] or rows == 1
