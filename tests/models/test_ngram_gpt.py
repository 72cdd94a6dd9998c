"""NGramGPT: causal, equal with and without cache, no leaks over documents and padding, n-grams that tell apart."""

import pytest
import torch

from errors import RequestError
from models.generation import generate
from models.layers.cache import KVCache
from models.layers.ngrams import HashedNGrams
from models.ngram_gpt import NGramGPT
from models.sampling import Sampling

VOCAB, SEQ_LEN = 23, 16


def make_model(**changes) -> NGramGPT:
    torch.manual_seed(0)
    shape = {"n_layer": 2, "n_head": 2, "n_embd": 16, "mlp_ratio": 2, "ngram_orders": [2, 4], "ngram_rows": 64}
    settings = {"rope_base": 10_000.0, "softcap": 15.0, "embed_std": 0.3, "ngram_std": 0.3}
    model = NGramGPT(vocab_size=VOCAB, seq_len=SEQ_LEN, **(shape | settings | changes))
    for p in model.parameters():  # some parameters start at zero and would hide a leak
        torch.nn.init.normal_(p, std=0.5)
    return model.eval()


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def all_logits(model: NGramGPT, ids: torch.Tensor, **kwargs) -> torch.Tensor:
    with torch.no_grad():
        return model(ids, logits="all", **kwargs).logits


def test_a_token_changes_nothing_before_it():
    model, ids = make_model(), draw(2, SEQ_LEN)
    changed = ids.clone()
    changed[:, 9] = (changed[:, 9] + 1) % VOCAB
    before, after = all_logits(model, ids), all_logits(model, changed)
    assert torch.equal(before[:, :9], after[:, :9])
    assert not torch.allclose(before[:, 9:], after[:, 9:])


@pytest.mark.parametrize("pieces", [[1] * SEQ_LEN, [5, 1, 1, 7, 2]])
def test_cached_equals_uncached(pieces: list[int]):
    model, ids = make_model(), draw(2, SEQ_LEN)
    cache, parts = KVCache(model.n_layer), []
    for piece in ids.split(pieces, dim=1):
        parts.append(all_logits(model, piece, cache=cache))
    # several tokens after the first need a mask that says they may look back; one token or all of them do not
    torch.testing.assert_close(torch.cat(parts, dim=1), all_logits(model, ids), rtol=1e-4, atol=1e-4)


def test_generates_the_same_as_by_hand_also_past_the_context():
    model, prompt = make_model(), draw(1, 6)
    greedy = Sampling(temperature=0.0)
    ((made,),) = generate(model, prompt.tolist(), max_new_tokens=8, sampling=greedy)
    ids = prompt
    for token in made.ids:
        assert token == all_logits(model, ids)[:, -1].argmax(-1).item()
        ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
    ((long,),) = generate(model, prompt.tolist(), max_new_tokens=40, sampling=greedy)
    assert len(long.ids) == 40


def test_documents_packed_in_one_row_are_as_if_alone():
    model, first, second = make_model(), draw(1, 6), draw(1, 10, seed=2)
    documents = torch.tensor([[3] * 6 + [7] * 10])
    packed = all_logits(model, torch.cat([first, second], dim=1), documents_BT=documents)
    alone = torch.cat([all_logits(model, first), all_logits(model, second)], dim=1)
    torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-4)


def test_left_padding_is_as_if_it_were_not_there():
    model, ids = make_model(), draw(1, 7)
    padded = torch.cat([draw(1, 4, seed=3), ids], dim=1)
    padding = torch.tensor([[False] * 4 + [True] * 7])
    torch.testing.assert_close(
        all_logits(model, padded, padding_BT=padding)[:, 4:], all_logits(model, ids), rtol=1e-4, atol=1e-4
    )


def test_the_same_n_gram_has_one_row_and_others_have_others():
    ngrams = HashedNGrams(vocab_size=VOCAB, orders=[2, 3], rows=2**20, n_embd=1)
    ids = torch.cartesian_prod(*[torch.arange(VOCAB)] * 3)  # (23^3, 3): every trigram once
    rows = ngrams.indices(ids, past_BN=None, documents_BT=None)[:, 2]  # (23^3, 2)
    assert len(rows[:, 0].unique()) == VOCAB**2  # rows of bigrams ignore the first token; no collision
    assert len(rows[:, 1].unique()) > 0.98 * VOCAB**3  # 12,167 in 2^20 rows: about 70 collide by chance
    assert rows[:, 0].max() < 2**20 <= rows[:, 1].min()
    assert rows[:, 1].max() < 2**21


def test_starts_at_the_loss_of_guessing_and_every_parameter_learns():
    torch.manual_seed(0)
    shape = {"n_layer": 1, "n_head": 1, "n_embd": 8, "mlp_ratio": 2, "ngram_orders": [2], "ngram_rows": 64}
    settings = {"rope_base": 10_000.0, "softcap": 15.0, "embed_std": 0.3, "ngram_std": 0.02}
    model = NGramGPT(vocab_size=VOCAB, seq_len=SEQ_LEN, **shape, **settings)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer, ids = torch.optim.Adam(model.parameters(), lr=0.03), draw(4, SEQ_LEN)
    losses = []
    for _ in range(60):
        loss = model(ids[:, :-1], targets_BT=ids[:, 1:]).loss / ids[:, 1:].numel()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(torch.tensor(VOCAB).log().item())
    assert losses[-1] < 0.5
    assert [name for name, p in model.named_parameters() if torch.equal(p, before[name])] == []


def test_counts_tables_as_looked_up():
    model = make_model()
    tables = VOCAB * 16 + 2 * 64 * 16
    assert model.lookup_parameters() == tables
    assert model.flops_per_token(8) == 6 * (model.parameter_counts()["total"] - tables) + 12 * 2 * 16 * 8


@pytest.mark.parametrize("orders", [[], [1, 2], [2, 2]])
def test_refuses_orders_that_make_no_sense(orders: list[int]):
    with pytest.raises(RequestError, match="ngram_orders"):
        make_model(ngram_orders=orders)
