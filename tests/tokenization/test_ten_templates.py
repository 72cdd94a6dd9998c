"""Templates of ten families of models on random conversations, with tools, thinking and specials in every field.

The text is transformers'. Control tokens are where they are in the same conversation without their names in it, and
what is learned is what `{% generation %}` encloses in the same template with these marks: two oracles that share
nothing with what is tested.
"""

import json
import random
import re

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

from tests.tokenization.ten_templates import FAMILIES, Family
from tokenization.chat import chat_template
from tokenization.hf import HFTokenizer

WORDS = [
    "Rain",
    " falls",
    "\n",
    "  two ",
    "é漢",
    "{{ messages }}",
    "{%",
    '"quoted"',
    "\\",
    "</s",
    "<|",
    "42",
    "\n\n",
    "'",
    "&<b>",
]
THINKING = ("<think>", "</think>")
MODES = ("/think", "/no_think")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Ours and transformers' of a family, on bytes."""
    made = {}

    def get(name: str):
        if name not in made:
            made[name] = build(FAMILIES[name], tmp_path_factory.mktemp(name))
        return made[name]

    return get


def build(family: Family, folder):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Backend(models.BPE({piece: i for i, piece in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([name for name in dict.fromkeys((family.bos, family.eos, *family.controls)) if name])
    roles = {"eos_token": family.eos} | ({"bos_token": family.bos} if family.bos else {})
    theirs = PreTrainedTokenizerFast(tokenizer_object=backend, **roles)
    theirs.chat_template = without_marks(family)
    theirs.save_pretrained(folder)
    return chat_template(HFTokenizer(name=str(folder)))[0], theirs


def without_marks(family: Family) -> str:
    return family.template.lstrip("\n").replace("«", "").replace("»", "")


def with_marks(family: Family) -> str:
    marked = family.template.lstrip("\n").replace("«", "{%- generation %}")
    return re.sub(r"»(?=\{\{(?!-))", "{%- endgeneration %}", marked).replace("»", "{%- endgeneration %}")


class Talk:
    """A random conversation of a family, and its twin without names of control tokens.

    Signs of thinking mean something in answers and system messages: the twin, which has none, would be rendered
    differently. `stray` puts them there all the same.
    """

    def __init__(self, family: Family, seed: int, *, stray: bool = False):
        self.rng, self.family, self.stray = random.Random(seed), family, stray
        self.thinking: set[str] = set()  # answers that begin with thoughts
        self.names = [name for name in dict.fromkeys((family.bos, family.eos, *family.controls)) if name]
        self.tools = [self.tool() for _ in range(self.rng.randint(1, 2))] if family.tools and self.maybe() else None
        self.messages = self.turns()

    def maybe(self, share: float = 0.5) -> bool:
        return self.rng.random() < share

    def text(self, *, empty: bool = False, looked_at: bool = False) -> str:
        names = [name for name in self.names if not looked_at or self.stray or name not in THINKING]
        parts = [self.rng.choice(WORDS + names) for _ in range(self.rng.randint(0 if empty else 1, 5))]
        return "".join(parts) if empty else "".join(parts) + "x"

    def tool(self) -> dict:
        properties = {self.text(): {"type": "string", "description": self.text()}}
        function = {
            "name": self.text(),
            "description": self.text(),
            "parameters": {"type": "object", "properties": properties},
        }
        return {"type": "function", "function": function}

    def call(self) -> dict:
        values = [self.text(), 3, None, [self.text(), True]]
        return {
            "id": "c" * 9, "type": "function",
            "function": {"name": self.text(), "arguments": {self.text(): self.rng.choice(values)}},
        }  # fmt: skip

    def turns(self) -> list[dict]:
        messages = []
        if self.family.system and self.maybe():
            messages.append({"role": "system", "content": self.text(looked_at=True) + self.rng.choice(["", *MODES])})
        for _ in range(self.rng.randint(1, 3)):
            messages.append({"role": "user", "content": self.text()})
            while self.family.tools and self.maybe(0.4):
                calls = [self.call() for _ in range(self.rng.randint(1, self.family.n_calls))]
                messages.append({"role": "assistant", "content": None, "tool_calls": calls} | self.thoughts())
                if self.maybe():
                    messages[-1]["content"] = self.text(looked_at=True)
                messages += [{"role": "tool", "tool_call_id": "c" * 9, "content": self.text(empty=True)} for _ in calls]
            messages.append({"role": "assistant", "content": self.answer()})
            if messages[-1]["content"] not in self.thinking:  # thoughts stand in one place only
                messages[-1] |= self.thoughts()
        return messages

    def thoughts(self) -> dict:
        return {"reasoning_content": self.text()} if self.maybe(0.3) else {}

    def answer(self) -> str:
        if not (self.family.thinks and self.maybe()):
            return self.text(looked_at=True)
        inner, said = ("".join(c for c in self.twin(self.text()) if c not in "\n") for _ in range(2))
        self.thinking.add(f"<think>\n{inner}\n</think>\n\n{said}")
        return f"<think>\n{inner}\n</think>\n\n{said}"

    def twin(self, value):
        """The same with crosses instead of names of control tokens, except where an answer begins with thoughts."""
        if isinstance(value, str):
            names = sorted(self.names, key=len, reverse=True)
            if value in self.thinking:
                names = [name for name in names if name not in THINKING]
            return re.sub("|".join(map(re.escape, names)), lambda found: "#" * len(found[0]), value)
        if isinstance(value, dict):
            return {self.twin(key): self.twin(item) for key, item in value.items()}
        return [self.twin(item) for item in value] if isinstance(value, list) else value


def expected(talk: Talk, ours, theirs) -> tuple[str, list[int], list[bool]]:
    """Text, ids and mask as they should be."""
    text = theirs.apply_chat_template(talk.messages, tools=talk.tools, tokenize=False)
    twin = theirs.apply_chat_template(talk.twin(talk.messages), tools=talk.twin(talk.tools), tokenize=False)
    clean = [{key: value for key, value in message.items() if value is not None} for message in talk.messages]
    (marked,), (spans,) = render_jinja_template(
        [clean], tools=talk.tools, chat_template=with_marks(talk.family), return_assistant_tokens_mask=True,
        **theirs.special_tokens_map,
    )  # fmt: skip
    assert marked == text
    assert len(twin) == len(text)
    learned = [any(start <= i < stop for start, stop in spans) for i in range(len(text))]
    controls = sorted(talk.names, key=len, reverse=True)
    found = {match.start(): match[0] for match in re.finditer("|".join(map(re.escape, controls)), twin)}
    ids, mask, at = [], [], 0
    while at < len(text):
        name = found.get(at, "")
        new = [ours.tokenizer.specials[name]] if name else ours.tokenizer.encode(text[at]).tolist()
        ids, mask = ids + new, mask + [learned[at]] * len(new)
        at += len(name) or 1
    return text, ids, mask


def check(name: str, seed: int, ours, theirs) -> None:
    talk = Talk(FAMILIES[name], seed)
    text, ids, mask = expected(talk, ours, theirs)
    rendering = ours._render(talk.messages, talk.tools or (), ask=False)
    assert str.__str__(rendering.text) == text
    rendered = ours.render(talk.messages, tools=talk.tools or ())
    assert ours.tokenizer.decode(rendered.ids) == text
    assert rendered.ids.tolist() == ids
    shown = [ours.tokenizer.decode(rendered.ids[np.array(m)]) for m in (rendered.mask, mask)]
    assert shown[0] == shown[1]
    assert rendered.mask.tolist() == mask
    asked = talk.messages[:-1]
    prompt = theirs.apply_chat_template(asked, tools=talk.tools, tokenize=False, add_generation_prompt=True)
    assert ours.tokenizer.decode(ours.render_for_completion(asked, tools=talk.tools or ())) == prompt


@pytest.mark.parametrize("name", FAMILIES)
def test_F7_F8_N13_text_controls_and_mask_are_right(name, pair):
    for seed in range(10):
        check(name, seed, *pair(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_F7_F8_N13_text_controls_and_mask_are_right_in_two_hundred_conversations(name, pair):
    for seed in range(10, 210):
        check(name, seed, *pair(name))


@pytest.mark.parametrize("name", [name for name in FAMILIES if set(FAMILIES[name].controls) & set(THINKING)])
def test_F7_signs_of_thinking_anywhere_change_the_text_as_they_do_in_transformers(name, pair):
    ours, theirs = pair(name)
    for seed in range(40):
        talk = Talk(FAMILIES[name], seed, stray=True)
        text = theirs.apply_chat_template(talk.messages, tools=talk.tools, tokenize=False)
        rendered = ours.render(talk.messages, tools=talk.tools or ())
        assert ours.tokenizer.decode(rendered.ids) == text
        assert rendered.mask.any()


@pytest.mark.parametrize("name", FAMILIES)
def test_every_template_says_how_a_turn_ends(name, pair):
    ours, _ = pair(name)
    ends = {"llama3": "<|eot_id|>", "gemma": "<end_of_turn>", "phi4": "<|end|>"}
    assert ours.end == ours.tokenizer.specials[ends.get(name, FAMILIES[name].eos)]


def test_the_conversations_have_everything_in_them(pair):
    talks = [Talk(FAMILIES["qwen3"], seed) for seed in range(10)]
    fields = json.dumps([[t.messages, t.tools] for t in talks])
    for part in ('"tool_calls"', '"reasoning_content"', '"role": "tool"', "<think>", "<|im_end|>", '"content": null'):
        assert part in fields
