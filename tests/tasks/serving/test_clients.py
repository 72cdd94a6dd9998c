"""OpenAI's client and lm_eval's, as they come from the registry: the text and log-probabilities of task=generate."""

import json
import threading

import openai
import pytest

from models.generation import generate
from models.sampling import Sampling
from tasks.text import StopStrings
from tests.tasks.serving.door import Door, loaded, run_folder

HOW = {"temperature": 0.7, "seed": 3, "extra_body": {"top_k": 20}}
SAMPLING = Sampling(0.7, 20)


def make(name: str):
    return loaded(name, talks=name != "base")


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    root = tmp_path_factory.mktemp("outputs")
    for name in ("talker", "base"):
        run_folder(root, name)
    with Door(root, make=make) as door:
        yield door


@pytest.fixture
def client(door):
    return openai.OpenAI(base_url=f"{door.url}/v1", api_key="none", max_retries=0, timeout=60)


def generated(run, ids, *, n=1, stop=(), new=20, stop_ids=None):
    """As task=generate does it."""
    ends = StopStrings(run.tokenizer, list(stop), context=ids)
    settings = {"max_new_tokens": new, "sampling": SAMPLING, "n": n, "seed": 3, "stop": ends if stop else None}
    done = generate(run.model, [ids], stop_ids=stop_ids or [run.tokenizer.eot], **settings)[0]
    return done, [ends.cut(ends.text(c.ids)) for c in done]


def test_models_are_the_runs(client):
    assert {m.id for m in client.models.list()} == {"talker", "base"}
    assert client.models.retrieve("base").object == "model"


@pytest.mark.parametrize("stream", [False, True])
def test_completions_are_those_of_task_generate(client, stream):
    run, prompt = make("base"), "Hé "
    done, texts = generated(run, run.tokenizer.encode(prompt).tolist(), n=3)
    found = client.completions.create(
        model="base", prompt=prompt, n=3, max_tokens=20, logprobs=2, stream=stream, **HOW
    )  # fmt: skip
    pieces = [choice for chunk in (found if stream else [found]) for choice in chunk.choices]
    for row, (expected, text) in enumerate(zip(done, texts, strict=True)):
        own = [choice for choice in pieces if choice.index == row]
        assert "".join(choice.text for choice in own) == text
        logprobs = [value for choice in own for value in choice.logprobs.token_logprobs]
        assert logprobs == pytest.approx(expected.logprobs, abs=1e-4)
        assert own[-1].finish_reason == ("stop" if expected.stopped else "length")


def test_equal_prompts_are_continued_as_one_with_n_would_be(client):
    """Without a seed too; a prompt in between keeps its own draws."""
    run = make("base")
    _, texts = generated(run, run.tokenizer.encode("ab").tolist(), n=4)
    _, (other,) = generated(run, run.tokenizer.encode("Hi").tolist())
    asked = {"model": "base", "prompt": ["ab", "Hi", "ab"], "max_tokens": 20}
    found = [choice.text for choice in client.completions.create(**asked, **HOW).choices]
    assert found == [texts[0], other, texts[1]]
    found = [choice.text for choice in client.completions.create(**asked | {"n": 2}, **HOW).choices]
    assert (found[:2], found[4:]) == (texts[:2], texts[2:])
    assert len(set(texts)) == 4
    unseeded = client.completions.create(model="base", prompt=["ab"] * 3, max_tokens=20)
    assert len({choice.text for choice in unseeded.choices}) == 3


@pytest.mark.parametrize("stream", [False, True])
def test_chat_is_what_the_template_asks(client, stream):
    run, messages = make("talker"), [{"role": "system", "content": "Be."}, {"role": "user", "content": "Hi"}]
    ids = run.turns.render_for_completion(messages).tolist()
    (expected,), _ = generated(run, ids, stop_ids=[run.turns.end, run.tokenizer.eot])
    text = run.turns.answer([i for i in expected.ids if i not in (run.turns.end, run.tokenizer.eot)])["content"]
    found = client.chat.completions.create(
        model="talker", messages=messages, max_tokens=20, logprobs=True, top_logprobs=3, stream=stream, **HOW
    )
    if not stream:
        choice = found.choices[0]
        assert choice.message.content == text
        assert [t.logprob for t in choice.logprobs.content] == pytest.approx(expected.logprobs, abs=1e-4)
        assert all(len(t.top_logprobs) == 3 for t in choice.logprobs.content)
        assert found.usage.prompt_tokens == len(ids)
        return
    chunks = list(found)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == text
    assert [c.choices[0].finish_reason for c in chunks][-1] == ("stop" if expected.stopped else "length")
    logprobs = [t.logprob for c in chunks for t in c.choices[0].logprobs.content]
    assert logprobs == pytest.approx(expected.logprobs, abs=1e-4)


def test_a_stop_text_ends_it_and_is_left_out(client):
    run, ids = make("base"), [72, 105]
    _, (free,) = generated(run, ids, new=40)
    stop = next(free[i : i + 2] for i in range(1, len(free)) if free[i : i + 2].isascii())
    _, (expected,) = generated(run, ids, new=40, stop=[stop])
    found = client.completions.create(model="base", prompt=ids, max_tokens=40, stop=stop, **HOW)
    assert found.choices[0].text == expected == free[: free.index(stop)]
    assert found.choices[0].finish_reason == "stop"
    streamed = client.completions.create(model="base", prompt=ids, max_tokens=40, stop=[stop], stream=True, **HOW)
    assert "".join(c.choices[0].text for c in streamed) == expected


def test_usage_at_the_end_of_a_stream_if_it_is_wanted(client):
    found = client.completions.create(
        model="base", prompt="ab", max_tokens=5, stream=True, stream_options={"include_usage": True}
    )
    *_, last = list(found)
    assert last.usage.prompt_tokens == 2
    assert last.choices == []


WRONG = {
    "model": ({"model": "nobody"}, openai.NotFoundError, "model_not_found"),
    "temperature": ({"temperature": -1}, openai.BadRequestError, None),
    "n": ({"n": 1000}, openai.BadRequestError, None),
    "prompt": ({"prompt": "x" * 65}, openai.BadRequestError, "context_length_exceeded"),
    "frequency_penalty": ({"frequency_penalty": 1.0}, openai.BadRequestError, None),
    "beams": ({"extra_body": {"beams": 3}}, openai.BadRequestError, None),
    "max_tokens": ({"max_tokens": 10_000}, openai.BadRequestError, None),
    "best_of": ({"best_of": 3}, openai.BadRequestError, None),
    "stop": ({"stop": 5}, openai.BadRequestError, None),
}


@pytest.mark.parametrize("field", WRONG)
def test_wrong_requests_are_told_in_openais_format(client, field):
    changes, kind, code = WRONG[field]
    with pytest.raises(kind) as caught:
        client.completions.create(**({"model": "base", "prompt": "a", "max_tokens": 3} | changes))
    assert caught.value.body["type"] == "invalid_request_error"
    assert caught.value.param == field
    assert caught.value.code == code


def test_a_base_model_does_not_pretend_to_talk(client):
    with pytest.raises(openai.BadRequestError, match="not trained on conversations"):
        client.chat.completions.create(model="base", messages=[{"role": "user", "content": "Hi"}])


def test_a_field_that_may_be_of_several_kinds_is_told_by_its_own_name(client):
    with pytest.raises(
        openai.BadRequestError, match=r"prompt: .*valid string, or .*greater than or equal to 0"
    ) as told:
        client.completions.create(model="base", prompt=[-1, 5], max_tokens=3)
    assert told.value.param == "prompt"
    assert "constrained" not in str(told.value)


@pytest.mark.parametrize("key", ["max_tokens", "max_completion_tokens"])
def test_an_answer_of_no_tokens_is_refused(client, key):
    with pytest.raises(openai.BadRequestError, match="gives 1 to"):
        client.chat.completions.create(model="talker", messages=[{"role": "user", "content": "Hi"}], **{key: 0})


def test_messages_are_used_or_refused(client):
    ask = lambda **m: client.chat.completions.create(model="talker", messages=[{"role": "user", **m}], max_tokens=2)  # noqa: E731
    with pytest.raises(openai.BadRequestError, match="'name'"):
        ask(content="Hi", name="Ann")
    with pytest.raises(openai.BadRequestError, match="1 image_url"):
        ask(content=[{"type": "image_url", "image_url": {"url": "data:,"}}])
    assert ask(content=[{"type": "text", "text": "Hi"}]).choices


def test_the_first_token_of_a_new_request_waits_for_no_other_to_end(client):
    begun, ended = threading.Event(), threading.Event()

    def long() -> None:
        for _ in client.completions.create(model="base", prompt="a", max_tokens=200, stream=True, seed=1):
            begun.set()
        ended.set()

    thread = threading.Thread(target=long)
    thread.start()
    assert begun.wait(60)
    stream = client.completions.create(model="base", prompt="b", max_tokens=2, stream=True, seed=1)
    next(iter(stream))
    assert not ended.is_set()
    thread.join(60)
    assert ended.is_set()


# lm_eval ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def lm_eval_client(door):
    models = pytest.importorskip("lm_eval.models.openai_completions")
    pytest.importorskip("tenacity")
    # its tokenizer is asked of the server, where a request names no run: the newest
    run = next(iter(door.runs.servable()))
    return models.LocalCompletionsAPI(
        base_url=f"{door.url}/v1/completions", model=run, max_length=64, batch_size=2, num_concurrent=1
    )


def test_lm_eval_finds_the_tokenizer_here(lm_eval_client):
    assert lm_eval_client.tokenizer_backend == "remote"
    assert lm_eval_client.tok_encode("Hé") == [72, 195, 169]
    assert lm_eval_client.eot_token_id == make(lm_eval_client.model).tokenizer.eot


def test_lm_eval_gets_likelihoods_and_texts(lm_eval_client):
    from lm_eval.api.instance import Instance

    run = make(lm_eval_client.model)
    pairs = [("The sky is", " blue"), ("2+2=", "4"), ("A", "BC")]
    asked = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    for (context, text), (logprob, greedy) in zip(pairs, lm_eval_client.loglikelihood(asked), strict=True):
        ids, n = list((context + text).encode()), len(text)
        logits = run.model(__import__("torch").tensor([ids]), logits="all").logits[0].log_softmax(-1)
        told = [float(logits[at - 1, ids[at]]) for at in range(len(ids) - n, len(ids))]
        assert logprob == pytest.approx(sum(told), abs=1e-3)
        best = [int(logits[at - 1].argmax()) for at in range(len(ids) - n, len(ids))]
        assert greedy == (best == ids[-n:])
    wanted = Instance("generate_until", {}, ("Hi", {"until": ["\n"], "max_gen_toks": 6, "temperature": 0}), 0)
    (text,) = lm_eval_client.generate_until([wanted])
    expected = generate(run.model, [[72, 105]], max_new_tokens=6, sampling=Sampling(0.0), stop_ids=[run.tokenizer.eot])
    assert text == StopStrings(run.tokenizer, ["\n"], context=[72, 105]).cut(
        run.tokenizer.decode_after([72, 105], expected[0][0].ids, skip_specials=True)
    )


def test_an_answer_follows_the_schema_that_is_asked_for(client):
    """The model is random: that its answer parses is the guide's work alone, beside an answer without one."""
    schema = {"type": "object", "properties": {"yes": {"type": "boolean"}, "of": {"enum": ["a", "b"]}},
              "required": ["yes", "of"], "additionalProperties": False}  # fmt: skip
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    ask = [{"role": "user", "content": "Hi"}]
    other = threading.Thread(target=client.chat.completions.create, kwargs={"model": "talker", "messages": ask})
    other.start()
    for seed in range(5):
        found = client.chat.completions.create(
            model="talker", messages=ask, response_format=wanted, max_tokens=60, seed=seed
        )
        assert found.choices[0].finish_reason == "stop"
        told = json.loads(found.choices[0].message.content)
        assert isinstance(told["yes"], bool)
        assert told["of"] in ("a", "b")
        assert len(told) == 2
    other.join()


@pytest.mark.parametrize(
    "wanted",
    [
        {"type": "yaml"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "thing"}}},
    ],
)
def test_a_format_that_cannot_be_followed_is_refused(client, wanted):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="talker", messages=[{"role": "user", "content": "Hi"}], response_format=wanted
        )
    assert caught.value.param == "response_format"
