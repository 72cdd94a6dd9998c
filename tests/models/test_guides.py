"""Guides: what they force is written, what they forbid is not, row by row; without one nothing changes."""

import numpy as np
import pytest
import torch

from errors import RunError
from models.generation import generate, stream
from models.gpt import GPT
from models.sampling import GREEDY, Sampling

PROMPTS = [[3, 1, 4, 1, 5], [9], [2, 6, 5]]


def tiny() -> GPT:
    torch.manual_seed(0)
    model = GPT(vocab_size=20, seq_len=8, n_layer=2, n_head=2, n_embd=8)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return model


class After:
    """After `at` new ids writes `what`; otherwise only ids of `those`."""

    def __init__(self, at=None, what=(), those=None):
        self.at, self.what, self.those = at, what, those

    def forced(self, ids):
        return self.what if len(ids) == self.at else []

    def allowed(self, ids):
        return None if self.those is None else np.isin(np.arange(20), self.those)


def greedy(model, guide=None, **more):
    found = generate(model, PROMPTS, max_new_tokens=6, sampling=GREEDY, guide=guide, **more)
    return [completion for (completion,) in found]


def test_a_guide_that_asks_for_nothing_changes_no_bit():
    model, sampling = tiny(), Sampling(0.9, top_k=7)
    plain = generate(model, PROMPTS, max_new_tokens=12, sampling=sampling, n=3, seed=5)
    guided = generate(model, PROMPTS, max_new_tokens=12, sampling=sampling, n=3, seed=5, guide=lambda prompt: After())
    assert plain == guided


@pytest.mark.parametrize("use_cache", [True, False])
def test_forced_ids_are_read_as_the_models_own(use_cache):
    """What follows them, and the log-probability of each, is what the model gives after reading them."""
    model = tiny()
    after = {len(prompt): After(at=2, what=[7, 8]) for prompt in PROMPTS[:2]}
    found = greedy(model, lambda prompt: after.get(len(prompt), After()), use_cache=use_cache)
    assert found[2] == greedy(model, use_cache=use_cache)[2]._replace(forced=[])
    for prompt, made in zip(PROMPTS[:2], found, strict=False):
        assert (made.ids[2:4], made.forced, len(made.ids)) == ([7, 8], [2, 3], 6)
        for i in range(min(6, 8 - len(prompt))):  # before the window slides
            with torch.no_grad():
                logits = model.eval()(torch.tensor([[*prompt, *made.ids[:i]]]), logits="last").logits[0, -1]
            assert made.logprobs[i] == pytest.approx(logits.log_softmax(-1)[made.ids[i]].item(), abs=1e-5)
            assert i in made.forced or made.ids[i] == logits.argmax()


def test_only_allowed_ids_are_drawn_from_what_is_left():
    model, those = tiny(), [4, 11, 13]
    found = generate(model, [[1, 2]], max_new_tokens=1, n=400, batch_size=400, guide=lambda prompt: After(those=those))
    with torch.no_grad():
        probs = model.eval()(torch.tensor([[1, 2]]), logits="last").logits[0, -1, those].softmax(-1)
    drawn = np.array([c.ids[0] for c in found[0]])
    for id, p in zip(those, probs.tolist(), strict=True):
        assert abs((drawn == id).mean() - p) < 4 * (p * (1 - p) / 400) ** 0.5 + 1e-9
        assert all(c.logprobs[0] == pytest.approx(np.log(p), abs=1e-5) for c in found[0] if c.ids[0] == id)
    assert set(drawn) <= set(those)


def test_guides_stay_with_their_rows_when_others_have_stopped():
    """Half of the rows end at once; the others keep their own guides."""
    model = tiny()

    def make(prompt):
        return After(at=0, what=[19]) if len(prompt) < 4 else After(at=3, what=[6, 6, 6], those=[1, 2])

    first, *others = greedy(model, make, stop_ids=[19])
    assert [c.ids for c in others] == [[19], [19]]
    assert (first.ids[3:], first.forced) == ([6, 6, 6], [3, 4, 5])


def test_a_stream_is_the_row_that_generate_gives():
    model = tiny()
    make = lambda prompt: After(at=1, what=[7, 8], those=[1, 2, 3])  # noqa: E731
    tokens = list(stream(model, PROMPTS[0], max_new_tokens=6, sampling=GREEDY, guide=make))
    made = greedy(model, make)[0]
    assert [token.id for token in tokens] == made.ids
    assert [i for i, token in enumerate(tokens) if token.forced] == made.forced == [1, 2]


def test_a_guide_that_allows_nothing_is_told():
    with pytest.raises(RunError, match="allows no token"):
        greedy(tiny(), lambda prompt: After(those=[]))
