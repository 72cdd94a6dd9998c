"""reward=verifier: the probability that the one way to judge gives, from ids or from text."""

from dataclasses import replace

import pytest
import torch

from errors import RequestError
from models.gpt import GPT
from models.heads import Verifier, at_end, judge
from rewards.base import Answers
from rewards.verifier import Verified
from tokenization.byte import ByteTokenizer
from tokenization.chat import chat_template


def verifier(vocab_size: int, seq_len: int = 48) -> Verifier:
    torch.manual_seed(0)
    model = Verifier(GPT(vocab_size=vocab_size, seq_len=seq_len, n_layer=1, n_head=2, n_embd=16)).eval()
    torch.nn.init.normal_(model.score_head.weight)
    return model


def answers(template, texts: list[str]) -> Answers:
    prompt = template.render_for_completion([{"role": "user", "content": "2+2?"}]).tolist()
    ids = [[*template.tokenizer.encode(text).tolist(), template.end] for text in texts]
    n = len(texts)
    return Answers(["2+2?"] * n, texts, ["4"] * n, [prompt] * n, ids, [True] * n)


def test_ids_and_text_are_judged_alike_and_in_any_batch() -> None:
    template, tokenizer = chat_template(ByteTokenizer())
    model = verifier(tokenizer.vocab_size)
    given = answers(template, ["4", "fifty"])
    prompt, ids = given.prompt_ids[1], given.ids[1]
    row = torch.tensor([[*prompt, *ids]])
    here = torch.arange(row.shape[1])[None] >= len(prompt)
    real = torch.ones_like(here)
    expected = at_end(judge(model, row, real, here)[0], real).sigmoid()
    shared = {"run": "RUN", "load_model": lambda run: (model, tokenizer)}
    for batch_size in (1, 2):
        own = Verified(batch_size=batch_size, tokenizer=tokenizer, **shared)(given)
        torch.testing.assert_close(own[1:], expected.detach(), rtol=1e-4, atol=1e-5)
    other = Verified(batch_size=2, tokenizer=ByteTokenizer(), **shared)
    assert other.template is not None
    torch.testing.assert_close(other(given), own, rtol=1e-4, atol=1e-5)


def test_a_verifier_with_another_tokenizer_is_shown_the_messages() -> None:
    """Not the policy's rendering of them, special tokens by their names."""
    template, tokenizer = chat_template(ByteTokenizer())
    model = verifier(tokenizer.vocab_size)
    part = Verified(run="RUN", load_model=lambda run: (model, tokenizer), batch_size=2, tokenizer=ByteTokenizer())
    given = answers(template, ["4"])
    rendered = replace(given, asked=["<|bos|><|user_start|>2+2?<|user_end|><|assistant_start|>"])
    shown = replace(rendered, conversations=[([{"role": "user", "content": "2+2?"}], ())])
    torch.testing.assert_close(part(shown), part(given))


def test_what_cannot_judge_is_refused() -> None:
    _, tokenizer = chat_template(ByteTokenizer())
    model = verifier(tokenizer.vocab_size, seq_len=8)
    with pytest.raises(RequestError, match=r"reward\.verifier\.run=null"):
        Verified(run=None, batch_size=1, tokenizer=tokenizer, load_model=lambda run: (model, tokenizer))
    with pytest.raises(RequestError, match="is a GPT, no verifier"):
        Verified(run="x", batch_size=1, tokenizer=tokenizer, load_model=lambda run: (model.backbone, tokenizer))
    part = Verified(run="x", batch_size=1, tokenizer=tokenizer, load_model=lambda run: (model, tokenizer))
    with pytest.raises(RequestError, match="reads 8 tokens, and an answer with its question"):
        part(answers(chat_template(ByteTokenizer())[0], ["4"]))
