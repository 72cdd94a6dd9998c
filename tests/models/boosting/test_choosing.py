"""`gbft.use_stages=by_text`: Bayes' rule over the prefixes of an ensemble, by hand and by a loop over tokens."""

import math
from typing import Any

import pytest
import torch

from errors import RequestError
from models.boosting.choosing import by_text, weights
from models.generation import generate
from models.sampling import Sampling
from tests.models.boosting.test_ensemble import VOCAB, T, boosted, ids

GREEDY = Sampling(temperature=0)


def test_weights_are_those_of_bayes_by_hand() -> None:
    nats = torch.tensor([[[0.0, math.log(2), math.log(4)]], [[0.0, math.log(4), math.log(4)]]])
    shares = weights(nats)
    assert torch.allclose(shares[:, 0, 0], torch.tensor([1 / 2, 1 / 2], dtype=torch.float64))
    assert torch.allclose(shares[:, 0, 1], torch.tensor([2 / 3, 1 / 3], dtype=torch.float64))
    assert torch.allclose(shares[:, 0, 2], torch.tensor([2 / 3, 1 / 3], dtype=torch.float64)), "both told it as well"


def test_each_document_has_evidence_of_its_own() -> None:
    nats = torch.tensor([[[0.0, 3.0, 0.0, 1.0]], [[0.0, 0.0, 0.0, 2.0]]])
    shares = weights(nats, torch.tensor([[5, 5, 8, 8]]))
    assert torch.allclose(shares[0, 0], torch.tensor([0.0, -3.0, 0.0, 1.0]).double().sigmoid())


def naive(hidden: list[torch.Tensor], row: list[int], documents: list[int], real: list[bool], head: Any) -> Any:
    """One row, token by token."""
    log_odds, mixed = [0.0] * len(hidden), []
    for t, token in enumerate(row):
        if t == 0 or documents[t] != documents[t - 1]:
            log_odds = [0.0] * len(hidden)
        elif real[t] and real[t - 1]:
            log_odds = [
                odds + float((state[t - 1].double() @ head.double().T).log_softmax(-1)[token])
                for odds, state in zip(log_odds, hidden, strict=True)
            ]
        shares = torch.tensor(log_odds, dtype=torch.float64).softmax(0)
        mixed.append(sum(share * state[t].double() for share, state in zip(shares, hidden, strict=True)))
    return torch.stack(mixed)  # type: ignore[arg-type]


@pytest.mark.parametrize("front", [0, 3], ids=["padding behind", "padding in front"])
def test_mixture_is_that_of_a_loop_over_tokens(front: int) -> None:
    torch.manual_seed(0)
    hidden = [torch.randn(2, T, 4, dtype=torch.float64) for _ in range(3)]
    head, tokens = torch.randn(VOCAB, 4, dtype=torch.float64), ids()
    documents = torch.tensor([[0] * 4 + [1] * (T - 4), [2] * T])
    real = torch.ones(2, T, dtype=torch.bool)
    real[1, :front] = False
    real[1, T - 3 + front :] = False
    found = by_text(hidden, tokens, head, documents_BT=documents, padding_BT=real)
    for b in range(2):
        rows = (tokens[b].tolist(), documents[b].tolist(), real[b].tolist())
        expected = naive([state[b] for state in hidden], *rows, head)
        assert torch.allclose(found[b], expected, rtol=0, atol=1e-12)


def test_ensemble_gives_each_text_its_own_mixture() -> None:
    model, tokens = boosted(use_stages="by_text", etas=(0.5, 0.7, 1.5)).double(), ids()
    states = model.prefixes(tokens, [0, 1, 2, 3])
    expected = by_text(states, tokens, model.head.weight)
    assert torch.equal(model(tokens).hidden_BTC, expected)
    alone = torch.cat([model(row[None]).hidden_BTC for row in tokens])
    assert torch.allclose(expected, alone, atol=1e-6), "a text's neighbours in a batch say nothing of it"


def test_what_comes_later_changes_nothing_before_it() -> None:
    model, tokens = boosted(use_stages="by_text"), ids()
    changed = tokens.clone()
    changed[:, 6:] = (changed[:, 6:] + 1) % VOCAB
    before, after = model(tokens).hidden_BTC, model(changed).hidden_BTC
    assert torch.allclose(before[:, :6], after[:, :6], atol=1e-6)
    assert not torch.allclose(before[:, 6:], after[:, 6:], atol=1e-3)


def test_one_prefix_that_tells_everything_is_soon_asked_alone() -> None:
    """Each token is eleven times as likely as where nothing is known: 11/12 after one of them, 121/122 after two."""
    tokens, head = ids(), torch.eye(VOCAB, dtype=torch.float64)
    knows = 40.0 * torch.nn.functional.one_hot(tokens.roll(-1, dims=1), VOCAB).double()
    mixed = by_text([torch.zeros_like(knows), knows], tokens, head)
    for t in range(T):
        assert torch.allclose(mixed[:, t], knows[:, t] * VOCAB**t / (1 + VOCAB**t), rtol=1e-9)


def test_generation_reads_the_text_again_and_follows_the_whole_pass() -> None:
    model = boosted(use_stages="by_text", etas=(0.5, 0.7, 1.5))
    assert not model.has_cache
    prompts = [[1, 2, 3], [4]]
    found = generate(model, prompts, max_new_tokens=4, sampling=GREEDY, seed=0)
    for prompt, answers in zip(prompts, found, strict=True):
        row = list(prompt)
        for _ in range(4):
            row.append(int(model(torch.tensor([row]), logits="last").logits[0, -1].argmax()))
        assert list(answers[0].ids) == row[len(prompt) :]


def test_what_cannot_be_is_refused_in_words() -> None:
    with pytest.raises(RequestError, match=r"use_stages=by_text .* no single set of weights"):
        boosted(use_stages="by_text", space="weight").merged()
    with pytest.raises(RequestError, match=r"gbft\.ensemble=boosted"):
        boosted(use_stages="by_text", ensemble="bagged")
