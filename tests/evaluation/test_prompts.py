"""Answers have the ids that they have in one text with their question, also where a tokenizer puts a blank in front."""

import pytest

from evaluation.benchmarks.base import Question
from evaluation.prompts import Prompter
from tasks.evaluating.judges import as_asked
from tests.tokenization.hub_like import llama_like, t5_like
from tokenization.base import Tokenizer
from tokenization.chat import CHAT_SPECIALS, chat_template
from tokenization.hf import HFTokenizer

QUESTION = Question("Is it?", "yes", ("yes", "no", "the notice"), lead="The answer is")


@pytest.fixture(params=[llama_like, t5_like])
def tokenizer(request, tmp_path) -> Tokenizer:
    return HFTokenizer(name=str(request.param(tmp_path)), specials=list(CHAT_SPECIALS))


def test_choices_in_plain_text_are_those_of_the_examples(tokenizer: Tokenizer) -> None:
    prompter = Prompter(tokenizer, style="plain", context=500)
    made = prompter.prompt(QUESTION, [Question("Is it not?", "no")], words="Say.", room=0)
    for choice, ids in zip(QUESTION.choices, made.choices, strict=True):
        assert [*made.ids, *ids] == tokenizer.encode(f"{made.text} {choice}").tolist()
        assert tokenizer.decode(ids).strip() == choice


def test_choices_behind_a_lead_are_those_of_the_whole_answer(tokenizer: Tokenizer) -> None:
    template, tokenizer = chat_template(tokenizer)
    prompter = Prompter(tokenizer, style="chat", context=500)
    made = prompter.prompt(QUESTION, [], words="", room=0)
    for choice, ids in zip(QUESTION.choices, made.choices, strict=True):
        turns = [{"role": "user", "content": QUESTION.ask}]
        turns.append({"role": "assistant", "content": f"{QUESTION.lead} {choice}"})
        assert [*made.ids, *ids, template.end] == template.render(turns).ids.tolist()


def test_a_judge_reads_answers_as_they_stand_behind_the_question(tokenizer: Tokenizer) -> None:
    prompt, ids = as_asked(Prompter(tokenizer, style="plain", context=500), "Say.")("Is it?", "yes")
    assert [*prompt, *ids] == tokenizer.encode("Say.\n\nIs it?\nAnswer: yes").tolist()
