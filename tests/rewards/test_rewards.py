"""Parts of a reward by hand, their weighted sum, and what is refused."""

import copy
import dataclasses
from types import SimpleNamespace

import pytest
import torch

from errors import RequestError
from models.gpt import GPT
from models.heads import RewardModel, score
from rewards.answer import Answer
from rewards.base import Answers, Reward, Rewards
from rewards.format import Format
from rewards.length import Length
from rewards.reward_model import LearnedReward

TEXTS = ["2+3=5\n#### 5", "2+3=6\n#### 6", "#### 5 or so", "five"]


def answers(right=(True, False, True, False), tokens=(4, 8, 12, 40)) -> Answers:
    ids = [[2] * n for n in tokens]
    n = len(tokens)
    return Answers(["q"] * n, TEXTS[:n], ["#### 5"] * n, [[3, 4]] * n, ids, [True] * n, torch.tensor(right))


def test_answer_is_1_where_right():
    assert Answer()(answers()).tolist() == [1.0, 0.0, 1.0, 0.0]


def test_format_looks_for_a_whole_line():
    assert Format(pattern="^#### -?[0-9]+$")(answers()).tolist() == [1.0, 1.0, 0.0, 0.0]


def test_F25_a_pattern_that_tries_everything_is_refused_in_bounded_time(monkeypatch):
    """`(a+)+$` in an answer of 5,000 a's and a b would take longer than there is time."""
    monkeypatch.setattr("rewards.format.LOOKING_S", 0.05)
    long = dataclasses.replace(answers(), texts=["a" * 5000 + "b"])
    with pytest.raises(RequestError, match=r"\(a\+\)\+\$.* one answer of 5,001 characters"):
        Format(pattern="(a+)+$")(long)
    assert Format(pattern="a+$")(answers()).tolist() == [0.0, 0.0, 0.0, 0.0]


def test_N60_wrong_answers_do_not_pay_for_their_length():
    """Past the target a right answer loses up to 1, at twice the target; a wrong one nothing, or it would fail fast."""
    gated, free = (Length(target=8, gate=gate)(answers()).tolist() for gate in (True, False))
    assert gated == [0.0, 0.0, -0.5, 0.0]
    assert free == [0.0, 0.0, -0.5, -1.0]
    all_wrong = Length(target=8)(answers(right=(False,) * 4))
    assert (all_wrong == 0).all()


def test_N63_the_sum_has_the_weights_in_it():
    parts = Rewards({"answer": Answer(weight=2.0), "format": Format(pattern="#", weight=-0.5)})
    values = parts.measure(answers())
    assert parts.total(values).tolist() == [1.5, -0.5, 1.5, 0.0]


def test_a_part_without_weight_is_measured_and_counts_for_nothing():
    parts = Rewards({"answer": Answer(), "format": Format(pattern="#", weight=0.0)})
    values = parts.measure(answers())
    assert values["format"].tolist() == [1.0, 1.0, 1.0, 0.0]
    assert parts.total(values).tolist() == Answer()(answers()).tolist()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Rewards({}).check(None), "nothing is rewarded"),
        (lambda: Rewards({"a": Answer(weight=0.0)}).check(None), "nothing is rewarded"),
        (lambda: Rewards({"a": Answer()}).check(SimpleNamespace()), "does not say how"),
        (lambda: Length(target=0), "at least 1 token"),
        (lambda: Length(target=5).check(SimpleNamespace()), "reward.length.gate=false"),
        (lambda: Format(pattern="(("), "no regular expression"),
        (lambda: Format(pattern="a{99999999999}"), "no regular expression"),
        (lambda: Format(pattern="(" * 9000 + ")" * 9000), "no regular expression.*nested too deeply"),
        (
            lambda: LearnedReward(run="no/such/folder", batch_size=2, tokenizer=None, load_model=None),
            "neither a run folder",
        ),
    ],
)
def test_refused_with_what_to_type(make, words):
    with pytest.raises(RequestError, match=words):
        make()


class Named:
    kind, vocab_size = "char", 12

    def __init__(self, fingerprint):
        self.fingerprint = fingerprint


def reward_model() -> RewardModel:
    torch.manual_seed(0)
    return RewardModel(GPT(vocab_size=12, seq_len=64, n_layer=1, n_head=2, n_embd=16))


def learned(model=None, theirs="a") -> LearnedReward:
    part = LearnedReward(run=None, batch_size=3, tokenizer=Named("a"), load_model=None)
    part.use(model or reward_model(), Named(theirs))
    return part


def test_a_reward_model_scores_prompt_and_answer_as_in_training():
    model = reward_model()
    found = learned(model)(answers())
    for row, ids in enumerate(answers().ids):
        whole = torch.tensor([[3, 4, *ids]])
        expected = score(model, whole, torch.ones_like(whole, dtype=torch.bool))[0]
        assert found[row].item() == pytest.approx(expected.item(), abs=1e-6)
    assert not any(p.requires_grad for p in model.parameters())


def test_N53_another_tokenizer_is_refused():
    with pytest.raises(RequestError, match="another tokenizer"):
        learned(theirs="b")


def test_a_model_without_a_score_is_refused():
    with pytest.raises(RequestError, match="gives no score"):
        learned(reward_model().backbone)


def test_a_reward_model_lies_in_the_checkpoint():
    parts = Rewards({"reward_model": learned()})
    other = Rewards({"reward_model": learned(copy.deepcopy(reward_model()))})
    with torch.no_grad():
        other["reward_model"].model.score_head.weight.zero_()
    other.load_state_dict(parts.state_dict())
    assert torch.equal(other.measure(answers())["reward_model"], parts.measure(answers())["reward_model"])


def test_a_classifier_of_transformers_reads_text(tmp_path):
    from transformers import LlamaConfig, LlamaForSequenceClassification

    from tests.hf_tiny import VOCAB, tokenizer

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, num_labels=1,
    )  # fmt: skip
    model = LlamaForSequenceClassification(config)
    model.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    part = LearnedReward(run=str(tmp_path), batch_size=2, tokenizer=Named("a"), load_model=None)
    given = Answers(["w3 w4", "w5"], ["w6", "w7 w8 w9"], ["", ""], [[], []], [[], []], [True, True])
    found = part(given)
    alone = [model(torch.tensor([ids])).logits.item() for ids in ([3, 4, 6], [5, 7, 8, 9])]
    assert found.tolist() == pytest.approx(alone, abs=1e-5)


TURNS = "{{ bos_token }}{% for m in messages %} {{ m.role }} {{ m.content }} {{ eos_token }}{% endfor %}"


def classifier(
    folder, *, template: str | None = TURNS, pad: int | None = 0, tokenizer_pad: str | None = "<pad>", bos: bool = False
):
    """A random classifier and its tokenizer, saved in `folder`. bos: it puts <s> before a text by itself."""
    from tokenizers.processors import TemplateProcessing
    from transformers import LlamaConfig, LlamaForSequenceClassification

    from tests.hf_tiny import VOCAB, tokenizer

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, pad_token_id=pad, num_labels=1, initializer_range=0.5,
    )  # fmt: skip
    model, reads = LlamaForSequenceClassification(config).eval(), tokenizer()
    if bos:
        reads.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    reads.chat_template = template
    reads.pad_token = tokenizer_pad
    model.save_pretrained(folder)
    reads.save_pretrained(folder)
    return model, reads


def scored(folder, given: Answers) -> list[float]:
    part = LearnedReward(run=str(folder), batch_size=2, tokenizer=Named("a"), load_model=None)
    return part(given).tolist()


def test_a_classifier_is_shown_the_messages_in_its_own_template(tmp_path):
    """Not the policy's rendering of them, special tokens by their names."""
    template = "{% for m in messages %} {{ m.content }}{% endfor %}{% for t in tools or [] %} {{ t.name }}{% endfor %}"
    model, _ = classifier(tmp_path, template=template)
    asked = ["<|bos|><|user_start|>w3<|user_end|><|assistant_start|>", "<|bos|>w4"]
    turns = [
        [{"role": "system", "content": "w9"}, {"role": "user", "content": ["w3", "w8"], "weight": None}],
        [{"role": "user", "content": "w4"}],
    ]
    tools = [(), [{"name": "w7"}]]
    given = Answers(
        asked, ["w5", "w6"], ["", ""], [[], []], [[], []], [True, True], None, [*zip(turns, tools, strict=True)]
    )
    expected = [model(torch.tensor([ids])).logits.item() for ids in ([9, 0, 5], [4, 6, 7])]
    assert scored(tmp_path, given) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("template", [TURNS, None])
def test_a_classifier_reads_its_beginning_once(tmp_path, template):
    """The template wrote <s>; plain text gets that of the tokenizer."""
    model, reads = classifier(tmp_path, template=template, bos=True)
    turns = [{"role": "user", "content": "w3"}, {"role": "assistant", "content": "w4"}]
    ids = reads.apply_chat_template(turns, return_dict=True)["input_ids"] if template else [1, 3, 4]
    assert ids.count(1) == 1
    found = scored(tmp_path, Answers(["w3"], ["w4"], [""], [[]], [[]], [True]))
    assert found == pytest.approx([model(torch.tensor([ids])).logits.item()], abs=1e-5)


@pytest.mark.parametrize("pad", [0, None, -1])
@pytest.mark.parametrize("tokenizer_pad", ["<pad>", "</s>", None])
def test_a_classifier_scores_each_text_at_its_last_token_as_alone(tmp_path, pad, tokenizer_pad):
    """The template ends in </s>, with which texts of other lengths may be padded."""
    model, reads = classifier(tmp_path, pad=pad, tokenizer_pad=tokenizer_pad)
    given = Answers(["w3 w4 w5", "w6", "w7 w8"], ["w9", "w10", "w11 w12"], [""] * 3, [[]] * 3, [[]] * 3, [True] * 3)
    expected = []
    for asked, text in zip(given.asked, given.texts, strict=True):
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": text}]
        ids = reads.apply_chat_template(turns, return_dict=True)["input_ids"]
        assert ids[-1] == 2
        hidden = model.model(torch.tensor([ids])).last_hidden_state
        expected.append(model.score(hidden)[0, -1].item())
    assert scored(tmp_path, given) == pytest.approx(expected, abs=1e-5)


def test_a_classifier_that_was_trained_with_its_end_as_padding_is_scored_as_its_folder_says(tmp_path):
    model, _ = classifier(tmp_path, template=None, pad=2)
    given = Answers(["w3 w4", "w5"], ["w6 </s>", "w7 </s>"], ["", ""], [[], []], [[], []], [True, True])
    alone = [model(torch.tensor([ids])).logits.item() for ids in ([3, 4, 6, 2], [5, 7, 2])]
    assert scored(tmp_path, given) == pytest.approx(alone, abs=1e-5)


def test_a_question_that_a_classifiers_template_refuses_is_a_request_error(tmp_path):
    classifier(tmp_path, template="{{ raise_exception('no system message') }}")
    with pytest.raises(RequestError, match="refuses a question of this data: no system message"):
        scored(tmp_path, Answers(["w3"], ["w4"], [""], [[]], [[]], [True]))


def test_every_part_is_a_reward():
    assert all(isinstance(part, Reward) for part in (Answer(), Format(pattern="x"), Length(target=3), learned()))
