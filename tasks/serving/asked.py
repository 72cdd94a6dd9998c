"""What clients may ask, in OpenAI's words: each field is used, or refused by its name.

`top_k`, `min_p`, `repetition_penalty` are as in task=generate (vLLM's names too). Some fields ask for nothing when they
hold their default, and are taken then.
"""

import secrets
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import strict_json
from errors import RequestError
from models.continuous import Request
from models.guides import MakeGuide
from models.sampling import Sampling
from tasks.guiding.schema import of_response_format
from tasks.serving.shelf import Loaded
from tasks.text import StopStrings

TOKENS_OF_A_COMPLETION = 16  # where max_tokens is not given: OpenAI's
MOST_STOPS, MOST_PROMPTS = 16, 256
Text = Annotated[str, Field(max_length=1_000_000)]
Id = Annotated[int, Field(ge=0)]
# fields that ask for nothing we have: value by which they ask for nothing
WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,), "presence_penalty": (0,), "logit_bias": ({},), "suffix": ("",),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"), "store": (False,), "parallel_tool_calls": (True, False), "audio": (),
    "prediction": (), "web_search_options": (), "reasoning_effort": (), "functions": ([],), "function_call": ("none",),
    "verbosity": (),
}  # fmt: skip
OF_SEVERAL_KINDS = (("prompt",), ("stop",))
SAYS_NOTHING = ("user", "metadata", "safety_identifier", "prompt_cache_key")  # notes of the client to itself

EMPTY_IN_ANSWERS = ("annotations", "refusal", "audio", "function_call", "tool_calls")  # as clients give them back


class FieldError(RequestError):
    """A request that cannot be served. `param`: the field; `code`: OpenAI's word for the kind."""

    def __init__(self, words: str, *, param: str | None = None, code: str | None = None):
        super().__init__(words)
        self.param, self.code = param, code


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    include_usage: bool = False
    include_obfuscation: bool = False


class ResponseFormat(BaseModel):
    """Text, or JSON that a guide holds to a schema (tasks/guiding)."""

    model_config = ConfigDict(extra="allow")
    type: str


class Body(BaseModel):
    """What both kinds of requests have."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    model: Annotated[str, Field(max_length=1000)] | None = None
    max_tokens: int | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=2**31)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    stop: Text | Annotated[list[Text], Field(max_length=MOST_STOPS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or [])

    def sampling(self) -> Sampling:
        return Sampling(
            1.0 if self.temperature is None else self.temperature,
            None if self.top_k in (None, -1, 0) else self.top_k,
            None if self.top_p in (None, 1) else self.top_p,
            self.min_p or None,
            1.0 if self.repetition_penalty is None else self.repetition_penalty,
        )

    def drawn_seed(self) -> int:
        return secrets.randbits(31) if self.seed is None else self.seed

    @property
    def with_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def refuse_the_rest(self) -> None:
        """Raises FieldError for fields that would change the answer, those that nobody knows, and what says nothing."""
        if "" in self.stops():
            raise FieldError("stop: an empty text, which every text contains.", param="stop")
        if self.stream_options is not None and not self.stream:
            raise FieldError("stream_options: only allowed where stream is true.", param="stream_options")
        for name, value in (self.model_extra or {}).items():
            if name in SAYS_NOTHING or (name in WITHOUT_EFFECT and (value is None or value in WITHOUT_EFFECT[name])):
                continue
            if name in WITHOUT_EFFECT:
                raise FieldError(f"{name}={value!r:.80} is not supported here: leave it out.", param=name)
            raise FieldError(f"Unrecognized request argument supplied: {name[:80]}", param=name[:80])


class CompletionBody(Body):
    """/v1/completions."""

    prompt: Text | Annotated[list[Text] | list[Id] | list[list[Id]], Field(max_length=1_000_000)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=100)] | None = None
    echo: bool | None = None
    best_of: int | None = None

    def prompts(self) -> Sequence[str | list[int]]:
        """Raises FieldError where there are none, or too many."""
        given = "" if self.prompt is None else self.prompt
        if isinstance(given, str) or (given and isinstance(given[0], int)):
            return [given]
        if not 1 <= len(given) <= MOST_PROMPTS:
            raise FieldError(f"{len(given)} prompts: expected 1 to {MOST_PROMPTS}.", param="prompt")
        return given  # type: ignore[return-value]


class ChatBody(Body):
    """/v1/chat/completions."""

    messages: list[dict[str, Any]]
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=100)] | None = None
    max_completion_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    response_format: ResponseFormat | None = None


B = TypeVar("B", bound="Body")


def read(kind: type[B], raw: bytes) -> B:
    """Raises FieldError for what is no JSON, or not what is expected; the first fault by its place."""
    try:
        body = kind.model_validate_json(raw)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        where, words = ".".join(str(part) for part in found[0]["loc"][:3])[:80], found[0]["msg"]
        if found[0]["loc"][:1] in OF_SEVERAL_KINDS:  # a fault for each kind, at places that only pydantic knows
            where = str(found[0]["loc"][0])
            words = ", or ".join(dict.fromkeys(one["msg"] for one in found if one["loc"][0] == where))
        raise FieldError(f"{where}: {words}"[:300] if where else words[:300], param=where or None) from None
    try:
        strict_json.value_of(raw)
    except ValueError as error:  # a key that stands there twice: one of its values would be passed over
        raise FieldError(str(error)[:300]) from None
    body.refuse_the_rest()
    return body


def tokens_wanted(asked: int | None, default: int, most: int, least: int = 0) -> int:
    """Raises FieldError for a number of tokens that the server does not give."""
    wanted = min(default, most) if asked is None else asked
    if not least <= wanted <= most:
        raise FieldError(
            f"max_tokens={wanted}: this server gives {least} to {most} (serve.max_new_tokens).", param="max_tokens"
        )
    return wanted


def completion_requests(body: CompletionBody, run: Loaded, *, most: int, rows: int) -> list[Request]:
    """One for each prompt, equal ones drawn as further continuations of the first. Raises FieldError."""
    n = body.n or 1
    if body.best_of not in (None, n):
        raise FieldError(f"best_of={body.best_of}: only n={n} is supported; leave best_of out.", param="best_of")
    wanted = tokens_wanted(body.max_tokens, TOKENS_OF_A_COMPLETION, most)
    found, before = [], Counter[tuple[int, ...]]()
    for prompt in body.prompts():
        ids = prompt_ids(prompt, run)
        stop = StopStrings(run.tokenizer, body.stops(), context=ids)
        found.append(
            Request(ids, max(1, wanted), body.sampling(), n, body.drawn_seed(), frozenset([run.tokenizer.eot]),
                    stop if stop.strings else None, body.logprobs or 0, first=before[tuple(ids)])
        )  # fmt: skip
        before[tuple(ids)] += n
    if wanted == 0 and not body.echo:
        raise FieldError("max_tokens=0 asks for nothing; with echo it asks for the prompt.", param="max_tokens")
    return check_size(found, run, rows=rows)


def prompt_ids(prompt: str | list[int], run: Loaded) -> list[int]:
    """Ids of a prompt; a text without any starts from the end-of-text token, as in task=generate."""
    if isinstance(prompt, str):
        return list(map(int, run.tokenizer.encode(prompt))) or [run.tokenizer.eot]
    if wrong := [id for id in prompt if id >= run.tokenizer.vocab_size]:
        raise FieldError(f"prompt: id {wrong[0]} is beyond the model's {run.tokenizer.vocab_size} ids.", param="prompt")
    return list(prompt) or [run.tokenizer.eot]


def chat_request(body: ChatBody, run: Loaded, *, most: int, rows: int) -> Request:
    """Raises FieldError, or RequestError for messages that are no conversation."""
    if run.turns is None:
        raise FieldError(
            f"{run.name} was not trained on conversations: ask /v1/completions to continue a text, or train a run with "
            "objective=sft.", param="model", code="no_chat_template",
        )  # fmt: skip
    guide = guide_wanted(body, run)
    if body.tool_choice not in (None, "auto", "none"):
        raise FieldError("tool_choice: only auto and none are supported here.", param="tool_choice")
    if body.top_logprobs and not body.logprobs:
        raise FieldError("top_logprobs needs logprobs=true.", param="top_logprobs")
    messages = [{k: v for k, v in m.items() if v is not None or k == "content"} for m in body.messages]
    messages = [{k: v for k, v in m.items() if k not in EMPTY_IN_ANSWERS or v} for m in messages]
    tools = [] if body.tool_choice == "none" else [t.get("function", t) for t in body.tools or []]
    if unused := run.turns.not_rendered(messages, tools):
        raise FieldError(f"messages hold {unused[0][:80]!r}, which this run's template does not show to the model.",
                    param="messages")  # fmt: skip
    if messages and messages[-1].get("role") == "assistant":
        raise FieldError("the last message is the assistant's: expected the user's or a tool's.", param="messages")
    ids = [int(i) for i in run.turns.render_for_completion(messages, tools=tools)]
    asked = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    wanted = tokens_wanted(asked, run.model.seq_len, most, least=1)
    stop = StopStrings(run.tokenizer, body.stops())
    request = Request(
        ids, wanted, body.sampling(), body.n or 1, body.drawn_seed(), frozenset([run.turns.end, run.tokenizer.eot]),
        stop if stop.strings else None, body.top_logprobs or 0,
        guide,
    )  # fmt: skip
    return check_size([request], run, rows=rows)[0]


def guide_wanted(body: ChatBody, run: Loaded) -> MakeGuide | None:
    """Of what response_format asks for. Raises FieldError for a format or a schema that cannot be followed."""
    if body.response_format is None:
        return None
    try:
        schema = of_response_format(body.response_format.model_dump())
        return None if schema is None else run.vocabulary.of_schema(schema)
    except RequestError as error:
        raise FieldError(str(error), param="response_format") from error


def check_size(requests: list[Request], run: Loaded, *, rows: int) -> list[Request]:
    """Raises FieldError for a prompt beyond the context, or more continuations than ever run at once."""
    context = run.model.seq_len
    for request in requests:
        if len(request.prompt) > context:
            raise FieldError(
                f"This model's maximum context length is {context} tokens, and the prompt has {len(request.prompt)}.",
                param="prompt", code="context_length_exceeded",
            )  # fmt: skip
        if request.n > rows:
            raise FieldError(f"n={request.n}: this server gives at most {rows} at once (serve.rows).", param="n")
    return requests
