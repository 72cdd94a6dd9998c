"""The ensemble as a model: zero at birth, stages that add up, caches, merging; each learner through one interface."""

import tempfile
from functools import partial

import pytest
import torch

from errors import RequestError
from models.boosting.ensemble import Boosted
from models.boosting.learners.adapter import Adapter
from models.boosting.learners.bias import Bias
from models.boosting.learners.block import SmallBlock
from models.boosting.learners.lora import LoRA
from models.boosting.plan import Plan
from models.boosting.states import RowStates, check_budget, share_of
from models.generation import generate
from models.gpt import GPT
from models.hf import HFModel
from models.layers.moe.settings import MoESettings
from models.ngram_gpt import NGramGPT
from models.sampling import Sampling
from models.transformer import Transformer

VOCAB, T = 11, 10
LEARNERS = {
    "lora_top": partial(LoRA, rank=2),
    "lora_full": partial(LoRA, rank=2, top_blocks="all"),
    "adapter_top": partial(Adapter, bottleneck=4),
    "block": partial(SmallBlock, width=8, n_head=2),
    "bias": Bias,
}


def gpt(**settings):
    torch.manual_seed(5)
    return GPT(vocab_size=VOCAB, seq_len=T, n_layer=4, n_head=2, n_embd=8, **settings)


def ngram_gpt():
    torch.manual_seed(5)
    model = NGramGPT(
        vocab_size=VOCAB, seq_len=T, n_layer=3, n_head=2, n_embd=8, mlp_ratio=2, ngram_orders=[2], ngram_rows=64,
        rope_base=100.0, softcap=None, embed_std=1.0, ngram_std=1.0,
    )  # fmt: skip
    for p in model.parameters():  # it begins with branches of zeros
        torch.nn.init.normal_(p, std=0.3)
    return model


def hf_llama():
    """A model of transformers in our wrapper."""
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=VOCAB, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=12, max_position_embeddings=T, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(5)
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        model = HFModel(vocab_size=VOCAB, path=folder, pretrained=False, seq_len=T)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model


def boosted(learner="lora_top", *, stages=3, base=None, trained=True, etas=(0.5, 0.0, 1.5), **plan):
    model = Boosted(base=base or gpt(), learner=LEARNERS[learner], plan=Plan(stages=stages, **plan), seed=1)
    if trained:
        torch.manual_seed(9)
        for p in model.learners.parameters():
            torch.nn.init.normal_(p, std=0.3)
        model.etas[:] = torch.tensor(etas[:stages], dtype=torch.float64)
        model.closed.fill_(stages)
    return model.eval()


def ids(rows=2, length=T):
    return torch.randint(0, VOCAB, (rows, length), generator=torch.Generator().manual_seed(3))


def test_every_parameter_of_a_learner_on_a_mixture_learns_and_its_router_is_left_alone():
    """A router's weights are read, not called: an update of it would be counted as trained and never be."""
    torch.manual_seed(5)
    moe = MoESettings(n_experts=3, top_k=2, ff=8, n_shared=1)
    base = Transformer(vocab_size=VOCAB, seq_len=T, n_layer=2, n_head=2, n_embd=8, moe=moe)
    model = boosted("lora_full", stages=1, base=base, etas=(1.0,))
    assert {name.split(".", 2)[2] for name in model.learners[0].names} == {
        *(f"attention.{x}" for x in ("q", "k", "v", "proj")), *(f"mlp.shared.{x}" for x in ("gate", "up", "down")),
    }  # fmt: skip
    model.correction(0, model.inputs(ids())).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.learners.parameters())


@pytest.mark.parametrize("base", [gpt, ngram_gpt, hf_llama])
@pytest.mark.parametrize("learner", LEARNERS)
def test_gbft1_a_learner_is_zero_at_birth_bit_for_bit(learner, base):
    base = base()
    expected = base(ids(), logits="all").logits
    model = boosted(learner, base=base, trained=False)
    model.etas[:] = 1.0
    for closed in range(4):
        model.closed.fill_(closed)
        assert torch.equal(model(ids(), logits="all").logits, expected)


@pytest.mark.parametrize("learner", LEARNERS)
def test_gbft7_logits_of_stages_add_up(learner):
    model = boosted(learner)
    inputs = model.inputs(ids())
    total = inputs.hidden_BTC @ model.head.weight.T
    for m in (0, 2):  # stage 1 was dropped
        delta = model.correction(m, inputs)
        assert delta.abs().max() > 1e-3
        total = total + model.eta(m, of=3) * (delta @ model.head.weight.T)
    torch.testing.assert_close(model(ids(), logits="all").logits, total, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("learner", LEARNERS)
def test_prefixes_are_what_use_stages_gives(learner):
    whole = boosted(learner)
    states = whole.prefixes(ids(), [0, 1, 3])
    for k, state in zip([0, 1, 3], states, strict=True):
        part = boosted(learner, use_stages=k)
        assert torch.equal(part(ids()).hidden_BTC, state)
    assert torch.equal(states[0], whole.base(ids()).hidden_BTC)


@pytest.mark.parametrize("space", ["logit", "weight"])
@pytest.mark.parametrize("base", [gpt, ngram_gpt, hf_llama])
@pytest.mark.parametrize("learner", LEARNERS)
def test_gbft13_generation_with_a_cache_is_the_full_forward_pass(learner, base, space):
    if space == "weight" and not learner.startswith("lora"):
        return
    model = boosted(learner, base=base(), space=space)
    prompt = ids(2, 4)
    made = generate(model, prompt.tolist(), max_new_tokens=T - 3, sampling=Sampling(temperature=0.0))
    tokens = torch.tensor([completion.ids for (completion,) in made])
    seen = prompt
    for t in range(T - 3):
        expected = model(seen, logits="last").logits[:, -1].argmax(-1)
        assert torch.equal(expected, tokens[:, t])
        seen = torch.cat([seen, expected[:, None]], dim=1)


def test_documents_stay_apart_in_learners_too():
    documents = torch.tensor([[0] * 4 + [1] * 6])
    for learner in LEARNERS:
        model = boosted(learner)
        other = ids(1).clone()
        other[0, :4] = (other[0, :4] + 1) % VOCAB
        one = model(ids(1), documents_BT=documents, logits="all").logits
        two = model(other, documents_BT=documents, logits="all").logits
        assert torch.equal(one[:, 4:], two[:, 4:])


def test_gbft11_merged_equals_unmerged():
    for model in (boosted(space="weight"), boosted("lora_full", stages=1, etas=(1.0,))):
        merged = model.merged()
        torch.testing.assert_close(merged(ids(), logits="all").logits, model(ids(), logits="all").logits)
        assert type(merged) is GPT
    with pytest.raises(RequestError, match=r"cannot be merged[\s\S]*gbft.space=weight"):
        boosted().merged()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("learner", LEARNERS)
def test_gbft8_cached_states_are_those_computed_on_the_fly(learner, dtype, tmp_path):
    model = boosted(learner)
    states = [RowStates(model, folder, budget=1e6, dtype=dtype) for folder in (tmp_path, None)]
    for stage, rows in ((0, slice(0, 2)), (1, slice(1, 3)), (3, slice(0, 3)), (2, slice(2, 4)), (3, slice(0, 4))):
        (a, cached), (b, fresh) = (s.read(ids(4)[rows], None, stage=stage) for s in states)
        assert torch.equal(cached, fresh)
        assert torch.equal(a.hidden_BTC, b.hidden_BTC)
        assert (a.mid_BTC is None) == (learner in ("block", "bias"))
        assert a.mid_BTC is None or torch.equal(a.mid_BTC, b.mid_BTC)
    assert states[0].base_rows == 4  # once per row
    assert states[1].base_rows == 13
    states[0].close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("learner", LEARNERS)
def test_gbft8_states_of_rows_are_those_of_the_ensemble(learner):
    """In float64: batches of another size go through other kernels, which round differently."""
    model = boosted(learner).double()
    found = RowStates(model, None, dtype=torch.float64).read(ids(4), None, stage=3)[1]
    whole = model.prefixes(ids(4), [3])[0]
    # but for one rounding to float32, 6e-8 of a state, as it is kept
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-7 * whole.abs().max().item())


def test_rows_beyond_the_budget_are_computed_again(tmp_path):
    model = boosted()
    states = RowStates(model, tmp_path, budget=2.5 * 3 * 4 * T * 8)  # two and a half rows
    for _ in range(2):
        _, got = states.read(ids(4), None, stage=3)
        assert torch.equal(got, RowStates(model, None).read(ids(4), None, stage=3)[1])
    assert states.base_rows == 6


def test_a_cache_that_must_fit_says_what_it_needs():
    model = boosted(cache="hidden", cache_gb=0.001)
    check_budget(model, rows=1000, seq_len=T)
    with pytest.raises(RequestError, match=r"2,000 rows of 10 tokens need up to 0.00 GB[\s\S]*gbft.cache_gb="):
        check_budget(model, rows=2000, seq_len=T)


def test_learner_m_is_the_same_however_many_there_are():
    few, many = boosted(stages=2, trained=False), boosted(stages=5, trained=False)
    for name, value in few.learners.state_dict().items():
        assert torch.equal(value, many.learners.state_dict()[name])
    assert not torch.equal(many.learners[0].down[0], many.learners[1].down[0])


@pytest.mark.parametrize("space", ["logit", "weight"])
def test_ranks_that_grow_with_the_stages(space):
    base, growing = gpt(), partial(LoRA, rank=[1, 3], alpha=6.0)
    model = Boosted(base=base, learner=growing, plan=Plan(stages=3, space=space), seed=0)
    assert [[len(down) for down in m.down] for m in model.learners] == [[1] * 8, [3] * 8, [3] * 8]
    assert [m.scale for m in model.learners] == [6.0, 2.0, 2.0]
    alone = Boosted(base=base, learner=partial(LoRA, rank=1, alpha=6.0), plan=Plan(stages=1), seed=0)
    assert all(map(torch.equal, model.learners[0].parameters(), alone.learners[0].parameters()))


def test_ranks_are_whole_numbers_of_at_least_1():
    for rank in (0, [2, 0], [], [[1]]):
        with pytest.raises(RequestError, match="1 or more, or a list of such"):
            Boosted(base=gpt(), learner=partial(LoRA, rank=rank), plan=Plan(stages=2), seed=0)


def test_the_base_has_no_dropout_from_the_first_moment_on():
    model = boosted(base=gpt(dropout=0.5))
    assert torch.equal(model.base(ids()).hidden_BTC, model.base(ids()).hidden_BTC)
    model = Boosted(base=gpt(dropout=0.5), learner=Bias, plan=Plan(), seed=0)
    for m in (model, model.train()):
        assert torch.equal(m(ids()).hidden_BTC, m(ids()).hidden_BTC)


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_stage_that_is_left_out_leaves_the_others_bit_for_bit(learner):
    """As if it had never been: the same bits as an ensemble whose second learner is another, and has no step."""
    etas = (0.5, 0.7, 1.5)
    without, never = boosted(learner, etas=etas, use_stages=[1, 3]), boosted(learner, etas=(0.5, 0.0, 1.5))
    for p in never.learners[1].parameters():
        torch.nn.init.constant_(p, 7.0)
    assert torch.equal(without(ids()).hidden_BTC, never(ids()).hidden_BTC)
    assert not torch.equal(without(ids()).hidden_BTC, boosted(learner, etas=etas)(ids()).hidden_BTC)
    alone, prefix = boosted(learner, etas=etas, use_stages=[1]), boosted(learner, etas=etas, use_stages=1)
    assert torch.equal(alone(ids()).hidden_BTC, prefix(ids()).hidden_BTC)
    nothing = boosted(learner, etas=etas, use_stages=[])
    assert torch.equal(nothing(ids()).hidden_BTC, nothing.base(ids()).hidden_BTC)


def test_a_stage_is_left_out_in_weight_space_and_of_an_average_too():
    weight = boosted(space="weight", etas=(0.5, 0.7, 1.5), use_stages=[1, 3])
    never = boosted(space="weight", etas=(0.5, 0.0, 1.5))
    assert torch.equal(weight(ids()).hidden_BTC, never(ids()).hidden_BTC)
    merged = weight.merged().eval()
    torch.testing.assert_close(merged(ids()).hidden_BTC, weight(ids()).hidden_BTC, rtol=1e-4, atol=1e-5)
    mean = boosted(ensemble="bagged", use_stages=[1, 3])
    inputs = mean.inputs(ids())
    two = inputs.hidden_BTC + (mean.correction(0, inputs) + mean.correction(2, inputs)) / 2
    torch.testing.assert_close(mean(ids()).hidden_BTC, two)


def test_a_bag_is_fitted_to_what_was_there_before_it():
    assert [Plan(stages=4, bag=2).seen_by(m) for m in range(4)] == [0, 0, 2, 2]
    assert [Plan(stages=4).seen_by(m) for m in range(4)] == [0, 1, 2, 3]
    for other in ({"ensemble": "bagged"}, {"space": "weight"}):
        with pytest.raises(RequestError, match=r"gbft\.bag=2"):
            Plan(bag=2, **other)


def test_use_stages_beyond_what_was_trained():
    for asked in (4, [1, 4]):
        with pytest.raises(RequestError, match="was to train 3 stages"):
            Plan(stages=3, use_stages=asked)
    model = boosted(use_stages=3)
    model.closed.fill_(2)
    with pytest.raises(RequestError, match="2 stages have been trained"):
        model(ids())


def test_targets_that_match_nothing_and_too_many_blocks():
    with pytest.raises(RequestError, match=r"match no linear layer. There are: blocks.2.attention.qkv"):
        LoRA(base=gpt(), targets=["nowhere"])
    with pytest.raises(RequestError, match="the base has 4 blocks"):
        LoRA(base=gpt(), top_blocks=5)


def test_gbft14_contradicting_plans_are_refused():
    for objective in ("mse", "newton", "newton_diag", "fisher"):
        with pytest.raises(RequestError, match="eta_rule=line_search"):
            Plan(objective=objective)
        Plan(objective=objective, eta_rule="line_search")
    Plan(objective="mse", literal_recipe=True)
    with pytest.raises(RequestError, match="no dev part"):
        Plan(dev_fraction=0.0, eta_rule="line_search")
    with pytest.raises(RequestError, match="space=weight"):
        boosted("adapter_top", space="weight")


def test_rows_are_drawn_by_their_hash():
    shares = [share_of(bytes([i]), 7, 0) for i in range(200)]
    assert 0.4 < sum(s < 0.5 for s in shares) / 200 < 0.6
    assert shares != [share_of(bytes([i]), 7, 1) for i in range(200)]
