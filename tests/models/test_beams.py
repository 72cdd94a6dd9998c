"""Beam search: texts and scores are those of transformers; by hand; what is refused."""

import copy
import math
from itertools import product

import pytest
import torch
import transformers

from errors import RequestError
from models.beams import beam_search, check_beams, written
from models.generation import generate
from models.gpt import GPT
from models.hf import HFModel
from models.sampling import GREEDY, Sampling
from models.seq2seq import HFSeq2Seq
from tests.models.test_seq2seq import CONFIGS, END, VOCAB, padded

transformers.logging.set_verbosity_error()
generator = torch.Generator().manual_seed(0)
SIZES = torch.randint(1, 12, (50,), generator=generator).tolist()
PROMPTS = [[*torch.randint(3, VOCAB, (n,), generator=generator).tolist(), END] for n in SIZES]


@pytest.fixture(params=CONFIGS)
def pair(request, tmp_path):
    """A model of theirs with random weights, which ends some of its texts, and the same one behind our signature."""
    config, untied = CONFIGS[request.param]
    torch.manual_seed(1)
    theirs = transformers.AutoModelForSeq2SeqLM.from_config(copy.deepcopy(config)).eval()
    if untied:
        theirs.lm_head.weight = torch.nn.Parameter(torch.empty_like(theirs.lm_head.weight))
        theirs.config.tie_word_embeddings = False
    for name, p in theirs.named_parameters():
        if "bart" not in request.param:
            torch.nn.init.normal_(p, std=0.3)
        elif p.dim() > 1 or "bias" in name:
            torch.nn.init.normal_(p)
        else:  # gains that differ, or it repeats one token, and texts of like tokens in another order score the same
            torch.nn.init.uniform_(p, 0.2, 2)
    theirs.save_pretrained(tmp_path)
    # float64: texts nearly as likely would change places with another processor's rounding
    return theirs.double(), HFSeq2Seq(vocab_size=VOCAB, path=str(tmp_path), seq_len=32).eval().double()


def their_beams(model, end, **settings):
    start = model.config.decoder_start_token_id
    made = model.generate(
        padded(PROMPTS, 0), attention_mask=padded([[1] * len(p) for p in PROMPTS], 0), max_new_tokens=10, num_beams=4,
        num_return_sequences=4, decoder_start_token_id=start, eos_token_id=end, pad_token_id=0, do_sample=False,
        return_dict_in_generate=True, output_scores=True, early_stopping=False, **settings,
    )  # fmt: skip
    rows = [row[1:] for row in made.sequences.tolist()]
    return [row[: row.index(end) + 1] if end in row else row for row in rows], made.sequences_scores.tolist()


def frequent(model):
    """A token that some greedy texts of ours hold and others do not: as an end it ends some of them early."""
    start = model.hf.config.decoder_start_token_id
    made = generate(model, [[*p, start] for p in PROMPTS], max_new_tokens=10, sampling=GREEDY)
    shares = [(sum(id in c[0].ids[2:] for c in made), id) for id in range(3, VOCAB)]
    return min(shares, key=lambda share: abs(share[0] - 20))[1]


@pytest.mark.parametrize("length_penalty", [1.0, -1.0])
def test_texts_and_scores_of_50_ragged_inputs_are_those_of_transformers(pair, length_penalty):
    theirs, ours = pair
    end, start = frequent(ours), theirs.config.decoder_start_token_id
    rows, scores = their_beams(theirs, end, length_penalty=length_penalty)
    settings = {"max_new_tokens": 10, "beams": 4, "stop_ids": [end], "length_penalty": length_penalty, "n": 4}
    found = beam_search(ours, [[*p, start] for p in PROMPTS], **settings)
    made = [completion for best in found for completion in best]
    assert len({len(c.ids) for c in made}) > 3, "texts of many lengths, or nothing is compared"
    assert [c.ids for c in made] == rows
    assert [c.score for c in made] == pytest.approx(scores, abs=1e-4 if length_penalty < 0 else 1e-5)
    for c in made:
        assert c.score == pytest.approx(sum(c.logprobs) / len(c.ids) ** length_penalty, abs=1e-3)
        assert c.stopped == (c.ids[-1] == end)


def test_greedy_texts_of_50_ragged_inputs_are_those_of_transformers(pair):
    theirs, ours = pair
    end, start = frequent(ours), theirs.config.decoder_start_token_id
    made = theirs.generate(
        padded(PROMPTS, 0), attention_mask=padded([[1] * len(p) for p in PROMPTS], 0), max_new_tokens=10, num_beams=1,
        decoder_start_token_id=start, eos_token_id=end, pad_token_id=0, do_sample=False,
    )[:, 1:].tolist()  # fmt: skip
    expected = [row[: row.index(end) + 1] if end in row else row for row in made]
    found = written(ours, [[*p, start] for p in PROMPTS], beams=1, max_new_tokens=10, stop_ids=[end])
    assert [c.ids for (c,) in found] == expected


def test_sampled_tokens_have_the_processed_probabilities_of_transformers(pair):
    theirs, ours = pair
    start = theirs.config.decoder_start_token_id
    how = Sampling(temperature=0.7, top_k=12, top_p=0.9, min_p=0.01, repetition_penalty=1.3)
    found = generate(ours, [[*p, start] for p in PROMPTS[:4]], max_new_tokens=6, sampling=how)
    processors = transformers.LogitsProcessorList([
        transformers.RepetitionPenaltyLogitsProcessor(1.3), transformers.TemperatureLogitsWarper(0.7),
        transformers.TopKLogitsWarper(12), transformers.TopPLogitsWarper(0.9), transformers.MinPLogitsWarper(0.01),
    ])  # fmt: skip
    for prompt, (made,) in zip(PROMPTS[:4], found, strict=True):
        answer = torch.tensor([[start, *made.ids]])
        logits = theirs(input_ids=torch.tensor([prompt]), decoder_input_ids=answer).logits[0]
        for at, (token, logprob) in enumerate(zip(made.ids, made.logprobs, strict=True)):
            scores = processors(answer[:, : at + 1], logits[at : at + 1]).log_softmax(-1)
            assert logprob == pytest.approx(scores[0, token].item(), abs=1e-4)


def test_a_decoders_beams_are_those_of_transformers_too(tmp_path):
    config = transformers.LlamaConfig(
        vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=32, pad_token_id=0, eos_token_id=END, bos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.LlamaForCausalLM(config).eval()
    for p in theirs.parameters():
        torch.nn.init.normal_(p, std=0.5)
    theirs.save_pretrained(tmp_path)
    ours = HFModel(vocab_size=VOCAB, path=str(tmp_path), seq_len=32).eval()
    left = [[0] * (12 - len(p)) + p for p in PROMPTS]
    made = theirs.generate(
        torch.tensor(left), attention_mask=(torch.tensor(left) != 0).long(), max_new_tokens=8, num_beams=3,
        num_return_sequences=2, eos_token_id=7, pad_token_id=0, do_sample=False, early_stopping=False,
        length_penalty=0.5, return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    settings = {"max_new_tokens": 8, "beams": 3, "n": 2, "stop_ids": [7], "length_penalty": 0.5}
    for more in ({}, {"use_cache": False}, {"batch_size": 7}):
        found = [c for best in beam_search(ours, PROMPTS, **settings, **more) for c in best]
        rows = [row[12:] for row in made.sequences.tolist()]
        assert [c.ids for c in found] == [row[: row.index(7) + 1] if 7 in row else row for row in rows]
        assert [c.score for c in found] == pytest.approx(made.sequences_scores.tolist(), abs=1e-5)


def tiny() -> GPT:
    torch.manual_seed(0)
    model = GPT(vocab_size=8, seq_len=8, n_layer=1, n_head=2, n_embd=8)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return model.eval()


def test_with_a_beam_for_every_text_the_likeliest_of_all_is_found():
    model, prompt = tiny(), [1, 2]
    best = max(product(range(8), repeat=2), key=lambda ids: total(model, prompt, ids))
    ((made,),) = beam_search(model, [prompt], max_new_tokens=2, beams=4, length_penalty=0.0)
    assert tuple(made.ids) == best
    assert made.score == pytest.approx(total(model, prompt, best), abs=1e-5)


def total(model, prompt, ids):
    logprobs = model(torch.tensor([[*prompt, *ids]]), logits="all").logits[0].log_softmax(-1)
    return sum(logprobs[len(prompt) - 1 + i, id].item() for i, id in enumerate(ids))


def test_texts_that_a_rule_stops_are_finished_and_a_penalty_counts_repetitions():
    model = tiny()
    (found,) = beam_search(model, [[1, 2]], max_new_tokens=5, beams=4, n=4, stop=lambda ids: len(ids) == 3)
    assert [len(c.ids) for c in found] == [3] * 4
    assert all(c.stopped for c in found)
    (free,), (punished,) = (
        beam_search(model, [[1, 2]], max_new_tokens=5, beams=4, repetition_penalty=p)[0] for p in (1.0, 1e6)
    )
    assert len(set(punished.ids)) == 5 > len(set(free.ids))


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"n": 5}, "Type beams=5"), ({"beams": 6}, "too few to choose from"), ({"max_new_tokens": 8}, "does not slide")],
    ids=str,
)
def test_what_cannot_be_searched_is_refused(settings, said):
    with pytest.raises(RequestError, match=said):
        beam_search(tiny(), [[1, 2]], **({"max_new_tokens": 2, "beams": 4} | settings))


def test_a_penalty_without_beams_and_beams_beside_draws_are_refused():
    check_beams(4, math.pi, against=None)
    with pytest.raises(RequestError, match="Type beams=4"):
        check_beams(1, 2.0, against=None)
    with pytest.raises(RequestError, match="drawn"):
        check_beams(2, 1.0, against="they are not drawn")
