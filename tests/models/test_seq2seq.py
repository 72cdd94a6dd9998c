"""Encoder-decoders of transformers behind our signature: losses, gradients, generation, what is refused."""

import copy

import pytest
import torch

from batch import IGNORE
from errors import RequestError
from evaluation.likelihood import continuation_logprobs
from models.generation import generate
from models.sampling import GREEDY, Sampling
from models.seq2seq import T5, HFSeq2Seq

transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()

VOCAB, END = 40, 1
T5_SIZES = {
    "vocab_size": VOCAB, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0,
    "pad_token_id": 0, "eos_token_id": END, "decoder_start_token_id": 0,
}  # fmt: skip
V11 = {"feed_forward_proj": "gated-gelu"}
CONFIGS = {
    "t5": (transformers.T5Config(**T5_SIZES), False),
    "v1.1": (transformers.T5Config(**T5_SIZES, **V11, scale_decoder_outputs=False), True),
    "v1.1, tied": (transformers.T5Config(**T5_SIZES, **V11, scale_decoder_outputs=False), False),
    "untied": (transformers.T5Config(**T5_SIZES, num_decoder_layers=1), True),
    "bart": (
        transformers.BartConfig(
            vocab_size=VOCAB, d_model=16, encoder_layers=2, decoder_layers=3, encoder_attention_heads=4,
            decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, max_position_embeddings=64, dropout=0.0,
            pad_token_id=0, bos_token_id=2, eos_token_id=END, decoder_start_token_id=END, forced_eos_token_id=None,
        ),
        False,
    ),
}  # fmt: skip
# source, its start token, answer: ragged on both sides
ROWS = [([5, 6, 7, 8, 9, END], [0], [11, 12, END]), ([5, 9, END], [0], [13, 14, 15, 16, 17, END]), ([8], [0], [7, END])]


@pytest.fixture(params=CONFIGS)
def theirs(request):
    config, untied = CONFIGS[request.param]
    torch.manual_seed(0)
    model = transformers.AutoModelForSeq2SeqLM.from_config(copy.deepcopy(config)).eval()
    if untied:
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
        model.config.tie_word_embeddings = False
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.4)
    return model


@pytest.fixture
def ours(theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    return HFSeq2Seq(vocab_size=VOCAB, path=str(tmp_path), seq_len=32).eval()


def batch(rows=ROWS, *, left=0):
    """A batch as data modules make it; `left`: so many pads stand before each row."""
    T = max(sum(map(len, row)) for row in rows) - 1 + left
    micro = {"ids": torch.full((len(rows), T), END), "targets": torch.full((len(rows), T), IGNORE)}
    micro["padding"] = torch.zeros(len(rows), T, dtype=torch.bool)
    for i, (source, start, answer) in enumerate(rows):
        whole = torch.tensor([*source, *start, *answer])
        end, first = left + len(whole) - 1, left + len(source)
        micro["ids"][i, left:end], micro["padding"][i, left:end] = whole[:-1], True
        micro["targets"][i, first:end] = torch.tensor(answer)
    return micro


def padded(lists, fill):
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(x) for x in lists], batch_first=True, padding_value=fill)


def their_loss(model, rows=ROWS):
    sources, labels = padded([s for s, _, _ in rows], 0), padded([a for _, _, a in rows], IGNORE)
    mask = padded([[1] * len(s) for s, _, _ in rows], 0)
    answers = padded([[*start, *answer[:-1]] for _, start, answer in rows], 0)
    return model(input_ids=sources, attention_mask=mask, decoder_input_ids=answers, labels=labels).loss


@pytest.mark.parametrize("sparse", [False, True])
def test_loss_and_gradients_of_a_ragged_batch_are_theirs(theirs, ours, sparse):
    micro = batch()
    out = ours(**ours.inputs_of(micro), sparse_targets=sparse)
    loss = out.loss / (micro["targets"] != IGNORE).sum()
    expected = their_loss(theirs)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    loss.backward()
    expected.backward()
    grads = dict(theirs.named_parameters())
    assert {n for n, _ in ours.hf.named_parameters()} == grads.keys()
    for name, p in ours.hf.named_parameters():
        assert (p.grad - grads[name].grad).abs().max() <= 1e-5 * max(1, grads[name].grad.abs().max()), name


def test_attention_stands_where_its_tokens_stand_and_is_theirs(theirs, ours):
    """Rows of the encoder's look at sources, those of answers at answers and, in maps of their own, at sources."""
    micro = batch()
    sources, answers = padded([s for s, _, _ in ROWS], 0), padded([[*start, *a[:-1]] for _, start, a in ROWS], 0)
    mask = padded([[1] * len(s) for s, _, _ in ROWS], 0)
    theirs.set_attn_implementation("eager")
    out = theirs(input_ids=sources, attention_mask=mask, decoder_input_ids=answers, output_attentions=True)
    inputs = ours.inputs_of(micro)
    weights: list = []
    ours.trunk(inputs["ids_BT"], padding_BT=inputs["padding_BT"], source_B=inputs["source_B"], weights=weights)
    wanted = [*out.encoder_attentions, *out.decoder_attentions, *out.cross_attentions]
    assert len(weights) == len(wanted) == len(ours.attention_names)
    for name, found_BHTT, wanted_BHQK in zip(ours.attention_names, weights, wanted, strict=True):
        for found, theirs_HQK, (s, _, a) in zip(found_BHTT, wanted_BHQK, ROWS, strict=True):
            n, m = len(s), len(a)
            rows = slice(0, n) if "encoder" in name else slice(n, n + m)
            columns = slice(n, n + m) if name.startswith("decoder") and "source" not in name else slice(0, n)
            part = found[:, rows, columns]
            assert torch.allclose(part, theirs_HQK[:, : part.shape[1], : part.shape[2]], atol=1e-5), name
            assert part.sum(-1).allclose(torch.ones(()), atol=1e-4), "all of the attention is there"


def test_padding_on_either_side_and_rows_that_fill_up_change_nothing(ours):
    alone = [ours(**ours.inputs_of(batch([row]))).loss for row in ROWS]
    for left in (0, 3):
        micro = batch(left=left)
        if left:
            micro = {name: torch.cat([x, x[:1]]) for name, x in micro.items()}
            micro["padding"][-1], micro["targets"][-1] = False, IGNORE
            source = torch.tensor([*(len(s) for s, _, _ in ROWS), 1])
            out = ours(micro["ids"], targets_BT=micro["targets"], padding_BT=micro["padding"], source_B=source)
        else:
            out = ours(**ours.inputs_of(micro))
        assert torch.allclose(out.nll_BT.sum(1)[:3], torch.stack(alone).detach(), atol=1e-4)


def test_the_encoder_sees_all_of_the_source_and_the_decoder_no_later_token(ours):
    micro, nll = batch(ROWS[:1]), lambda m: ours(**ours.inputs_of(m)).nll_BT[0]
    before, first = nll(micro), len(ROWS[0][0])
    for at in range(micro["ids"].shape[1]):
        changed = {name: x.clone() for name, x in micro.items()}
        changed["ids"][0, at] = 30
        moved = (nll(changed) - before).abs() > 1e-6
        assert moved[max(at, first) :].all(), at
        assert not moved[: max(at, first)].any(), at


def test_likelihoods_of_continuations_are_those_of_the_loss(ours):
    pairs = [(torch.tensor([*s, *start]).numpy(), torch.tensor(a).numpy()) for s, start, a in ROWS]
    alone = [-ours(**ours.inputs_of(batch([row]))).loss.item() for row in ROWS]
    assert continuation_logprobs(ours, pairs).tolist() == pytest.approx(alone, abs=1e-4)


# ---- generation ----------------------------------------------------------------------------------------------------

PROMPTS = [[5, 6, 7, 8, 9, END], [5, 9, END], [8, 4], [30, 31, 32, 33, 34, 35, 36, END]]


def their_answers(model, prompts, **settings):
    start, new = model.config.decoder_start_token_id, settings.pop("max_new_tokens")
    made = model.generate(
        padded(prompts, 0), attention_mask=padded([[1] * len(p) for p in prompts], 0), max_new_tokens=new,
        decoder_start_token_id=start, eos_token_id=END, pad_token_id=0, **settings,
    )[:, 1:].tolist()  # fmt: skip
    return [row[: row.index(END) + 1] if END in row else row for row in made]


def test_greedy_answers_are_theirs_with_and_without_a_cache(theirs, ours):
    start = theirs.config.decoder_start_token_id
    expected = their_answers(theirs, PROMPTS, max_new_tokens=12, do_sample=False, num_beams=1)
    for settings in ({}, {"use_cache": False}, {"batch_size": 1}):
        asked = [[*p, start] for p in PROMPTS]
        found = generate(ours, asked, max_new_tokens=12, sampling=GREEDY, stop_ids=[END], **settings)
        assert [c[0].ids for c in found] == expected


def test_each_new_token_costs_one_step_of_the_decoder_and_none_of_the_encoder(ours):
    read = {"encoder": [], "decoder": []}
    for name, part in (("encoder", ours.hf.get_encoder()), ("decoder", ours.hf.get_decoder())):
        part.register_forward_pre_hook(
            lambda _m, _a, kw, name=name: read[name].append(tuple(kw["input_ids"].shape)), with_kwargs=True
        )
    generate(ours, [[*p, 0] for p in PROMPTS], max_new_tokens=5, sampling=GREEDY)
    assert read == {"encoder": [(4, 8)], "decoder": [(4, 1)] * 5}


def test_samples_have_the_probabilities_of_the_model_and_share_one_reading(ours):
    prompt = [*PROMPTS[0], 0]
    made = generate(ours, [prompt], max_new_tokens=6, sampling=Sampling(temperature=1.0), n=5, seed=3, stop_ids=[END])
    assert len({tuple(c.ids) for c in made[0]}) > 1
    for completion in made[0]:
        pair = (torch.tensor(prompt).numpy(), torch.tensor(completion.ids).numpy())
        assert sum(completion.logprobs) == pytest.approx(float(continuation_logprobs(ours, [pair])[0]), abs=1e-3)


# ---- a model from keys, and what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize("gated", [False, True])
def test_a_t5_from_keys_is_the_same_for_the_same_seed_and_learns(gated):
    models = []
    for _ in range(2):
        torch.manual_seed(1)
        models.append(T5(vocab_size=VOCAB, n_layer=2, n_head=2, n_embd=16, n_inner=32, gated=gated))
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))
    model = models[0]
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = model(**model.inputs_of(batch())).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_rows_without_a_source_packed_rows_and_long_answers_are_refused():
    model = T5(vocab_size=VOCAB, n_embd=16, n_head=2, seq_len=8)
    ids = torch.arange(6).unsqueeze(0)
    with pytest.raises(RequestError, match="nothing for the encoder to read"):
        model(**model.inputs_of({"ids": ids, "targets": ids}))
    with pytest.raises(RequestError, match=r"data\.batching=grouped"):
        model(ids, documents_BT=torch.zeros_like(ids))
    with pytest.raises(RequestError, match="max_new_tokens=9 is more than the decoder"):
        generate(model, [[3, 4, 0]], max_new_tokens=9)


def test_positions_beyond_the_models_are_refused(tmp_path):
    transformers.AutoModelForSeq2SeqLM.from_config(CONFIGS["bart"][0]).save_pretrained(tmp_path)
    with pytest.raises(RequestError, match=r"Type model\.seq_len=64"):
        HFSeq2Seq(vocab_size=VOCAB, path=str(tmp_path), seq_len=65)


def test_a_bias_behind_the_head_is_refused(tmp_path):
    model = transformers.AutoModelForSeq2SeqLM.from_config(CONFIGS["bart"][0])
    model.final_logits_bias += 1
    model.save_pretrained(tmp_path)
    with pytest.raises(RequestError, match="does more with its logits"):
        HFSeq2Seq(vocab_size=VOCAB, path=str(tmp_path), seq_len=32)


def test_more_ids_than_rows_and_fewer(tmp_path):
    transformers.AutoModelForSeq2SeqLM.from_config(CONFIGS["t5"][0]).save_pretrained(tmp_path)
    larger = HFSeq2Seq(vocab_size=VOCAB + 3, path=str(tmp_path), seq_len=32)
    assert (larger.vocab_size, larger.head.weight.shape[0]) == (VOCAB + 3, VOCAB + 3)
    assert larger.head.weight is larger.hf.get_input_embeddings().weight
    assert HFSeq2Seq(vocab_size=VOCAB - 2, path=str(tmp_path), seq_len=32).n_ids == VOCAB - 2
