"""The routes: OpenAI's, those that lm_eval's client asks for a tokenizer, and the page's."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse

from errors import RequestError
from models.continuous import Request as Wanted
from models.continuous import Written
from tasks.serving.answering import (
    DONE,
    Envelope,
    Offsets,
    Writing,
    chat_logprobs,
    completion_logprobs,
    error_body,
    event,
    usage,
)
from tasks.serving.asked import (
    ChatBody,
    CompletionBody,
    FieldError,
    chat_request,
    completion_requests,
    prompt_ids,
    read,
)
from tasks.serving.shelf import Loaded, Shelf, UnknownRunError
from tasks.serving.worker import BusyError, Job, StoppingError, Worker
from tasks.text import StopStrings

log = logging.getLogger("serve")


@dataclass
class Limits:
    """rows: continuations at once, of one model. max_new_tokens: of one request."""

    rows: int
    max_new_tokens: int


def make_app(shelf: Shelf, worker: Worker, limits: Limits) -> FastAPI:
    app = FastAPI(title="nanolab", docs_url=None, redoc_url=None, openapi_url=None)
    app.exception_handler(Exception)(_failed)
    for kind in (RequestError, BusyError, StoppingError):
        app.exception_handler(kind)(_told)
    app.exception_handler(RequestValidationError)(_misaddressed)
    app.exception_handler(404)(_told)
    app.exception_handler(405)(_told)

    @app.get("/v1/models")
    async def models() -> Any:
        names = await asyncio.to_thread(shelf.names)
        return {"object": "list", "data": [_model(shelf, name) for name in names]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Any:
        if name not in await asyncio.to_thread(shelf.names):
            raise UnknownRunError(f"the model {name[:200]!r} does not exist")
        return _model(shelf, name)

    @app.post("/v1/completions")
    async def completions(request: Request) -> Response:
        body = read(CompletionBody, await request.body())
        run = await shelf.get(body.model)
        wanted = await asyncio.to_thread(completion_requests, body, run, most=limits.max_new_tokens, rows=limits.rows)
        answer = _Answer(run, wanted, body.stops(), chat=False, logprobs=body.logprobs is not None)
        answer.echo, answer.prompt_only = bool(body.echo), body.max_tokens == 0
        return await _respond(answer, worker, request, stream=bool(body.stream), with_usage=body.with_usage)

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        body = read(ChatBody, await request.body())
        run = await shelf.get(body.model)
        wanted = await asyncio.to_thread(chat_request, body, run, most=limits.max_new_tokens, rows=limits.rows)
        answer = _Answer(run, [wanted], body.stops(), chat=True, logprobs=bool(body.logprobs))
        return await _respond(answer, worker, request, stream=bool(body.stream), with_usage=body.with_usage)

    _tokenizer_routes(app, shelf)
    return app


def _model(shelf: Shelf, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "nanolab"} | shelf.facts(name)


# one answer ----------------------------------------------------------------------------------------------------------


class _Answer:
    """All choices of one request: `n` of each prompt."""

    def __init__(self, run: Loaded, wanted: Sequence[Wanted], stops: list[str], *, chat: bool, logprobs: bool):
        self.run, self.wanted, self.chat, self.logprobs = run, wanted, chat, logprobs
        self.echo = self.prompt_only = False
        self.envelope = Envelope(run, chat=chat)
        self.writings = [
            Writing(run, one, StopStrings(run.tokenizer, stops, context=[] if chat else one.prompt), chat)
            for one in wanted
            for _ in range(one.n)
        ]
        self.prompts: dict[int, list[Written | None]] = {}  # by number of the prompt, what is said of it
        self.begun: dict[int, Offsets] = {}  # by choice

    async def events(self, worker: Worker) -> AsyncGenerator[tuple[int, Written | None], None]:
        """(choice, token) as they come; None where it begins with its prompt."""
        jobs = [Job(self.run.batch, one, self.echo and self.logprobs, self.prompt_only) for one in self.wanted]
        merged: asyncio.Queue[Any] = asyncio.Queue()
        tasks = [asyncio.create_task(self._pass_on(worker, i, job, merged)) for i, job in enumerate(jobs)]
        left = len(tasks)
        try:
            if self.echo:
                for choice in range(len(self.writings)) if not self.logprobs else ():
                    yield choice, None
            while left:
                number, found = await merged.get()
                if isinstance(found, BaseException):
                    raise found
                if found is None:
                    left -= 1
                    continue
                n = self.wanted[number].n
                if isinstance(found, list):
                    self.prompts[number] = found
                    for row in range(n):
                        yield number * n + row, None
                    continue
                choice = number * n + found.row
                self.writings[choice].tokens.append(found)
                yield choice, found
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pass_on(self, worker: Worker, number: int, job: Job, to: asyncio.Queue[Any]) -> None:
        try:
            if job.prompt_only and not job.echo:
                to.put_nowait((number, None))
                return
            async with aclosing(worker.run(job)) as found:
                async for one in found:
                    to.put_nowait((number, one))
            to.put_nowait((number, None))
        except Exception as error:
            to.put_nowait((number, error))

    def prompt_text(self, choice: int) -> str:
        return self.run.tokenizer.decode(self.writings[choice].request.prompt)

    def said_of_prompt(self, choice: int) -> dict[str, list[Any]]:
        """Log-probabilities of a prompt that the answer begins with; empty lists of another."""
        request = self.writings[choice].request
        told = self.prompts.get(choice // request.n, [])
        return completion_logprobs(self.run, told, request.prompt[0], Offsets(self.run))

    def offsets(self, choice: int) -> Offsets:
        """Of the new tokens of a completion."""
        if choice not in self.begun:
            at = len(self.prompt_text(choice)) if self.echo else 0
            self.begun[choice] = Offsets(self.run, at, alone=self.writings[choice].stop.text)
        return self.begun[choice]

    # whole

    def choice(self, i: int) -> dict[str, Any]:
        writing = self.writings[i]
        finish = writing.finish() or "length"
        if self.chat:
            told = chat_logprobs(self.run, writing.tokens) if self.logprobs else None
            return {"index": i, "message": writing.whole(), "logprobs": told, "finish_reason": finish}
        text = (self.prompt_text(i) if self.echo else "") + writing.message()["text"]
        lists = None
        if self.logprobs:
            before, new = self.said_of_prompt(i), completion_logprobs(self.run, writing.tokens, None, self.offsets(i))
            lists = {name: before[name] + values for name, values in new.items()}
        return {"index": i, "text": text, "logprobs": lists, "finish_reason": finish}

    def whole(self) -> dict[str, Any]:
        return self.envelope([self.choice(i) for i in range(len(self.writings))], usage=self.usage())

    def usage(self) -> dict[str, int]:
        return usage([one.prompt for one in self.wanted], sum(len(writing.tokens) for writing in self.writings))

    # in pieces

    def piece(self, i: int, token: Written | None) -> dict[str, Any]:
        writing = self.writings[i]
        choice: dict[str, Any] = {"index": i, "logprobs": None, "finish_reason": writing.finish()}
        if self.chat:
            first = {"role": "assistant", "content": ""} if len(writing.tokens) == 1 else {}
            choice["delta"] = first | writing.delta()
            if self.logprobs and token is not None:
                choice["logprobs"] = chat_logprobs(self.run, [token])
            return self.envelope([choice], piece=True)
        if token is None:
            choice["text"] = self.prompt_text(i)
            if self.logprobs:
                choice["logprobs"] = self.said_of_prompt(i)
            if self.prompt_only:
                choice["finish_reason"] = "length"
            return self.envelope([choice], piece=True)
        choice["text"] = writing.delta().get("text", "")
        if self.logprobs:
            choice["logprobs"] = completion_logprobs(self.run, [token], None, self.offsets(i))
        return self.envelope([choice], piece=True)


async def _respond(answer: _Answer, worker: Worker, request: Request, *, stream: bool, with_usage: bool) -> Response:
    events = answer.events(worker)
    if stream:
        # what is refused is refused before the stream begins
        first = await anext(events, None)
        return StreamingResponse(_stream(answer, events, first, with_usage), media_type="text/event-stream",
                                 headers={"Cache-Control": "no-cache"})  # fmt: skip
    gone = asyncio.create_task(_disconnected(request))
    try:
        async with aclosing(events):
            work = asyncio.create_task(_drain(events))
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
                return Response(status_code=499)  # nobody is there to read it
            work.result()
    finally:
        gone.cancel()
    return JSONResponse(answer.whole())


async def _drain(events: AsyncIterator[Any]) -> None:
    async for _ in events:
        pass


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _stream(answer: _Answer, events: Any, first: Any, with_usage: bool) -> AsyncIterator[bytes]:
    more = {"usage": None} if with_usage else {}
    async with aclosing(events):
        try:
            if first is not None:
                yield event(answer.piece(*first) | more)
            async for i, token in events:
                yield event(answer.piece(i, token) | more)
            if with_usage:
                yield event(answer.envelope([], piece=True, usage=answer.usage()))
        except Exception as error:  # the status is sent already; the client reads it from the stream
            _, body = _explained(error)
            yield event(body)
        yield DONE


# tokenizer, for lm_eval's client (the routes are vLLM's) ------------------------------------------------------------


def _tokenizer_routes(app: FastAPI, shelf: Shelf) -> None:
    @app.get("/tokenizer_info")
    async def tokenizer_info() -> Any:
        run = await shelf.get(None)
        names = {id: name for name, id in run.tokenizer.specials.items()}
        return {"eos_token": names[run.tokenizer.eot], "bos_token": None, "pad_token": None, "chat_template": None}

    @app.post("/tokenize")
    async def tokenize(request: Request) -> Any:
        body = await _json(request, {"prompt": str})
        run = await shelf.get(body.get("model"))
        special = run.tokenizer.specials.get(body["prompt"])  # a name alone asks for its id
        ids = [special] if special is not None else list(map(int, run.tokenizer.encode(body["prompt"])))
        return {"tokens": ids, "count": len(ids), "max_model_len": run.model.seq_len}

    @app.post("/detokenize")
    async def detokenize(request: Request) -> Any:
        body = await _json(request, {"tokens": list})
        run = await shelf.get(body.get("model"))
        if not all(type(id) is int and id >= 0 for id in body["tokens"]):
            raise FieldError("tokens: expected a list of ids", param="tokens")
        return {"prompt": run.tokenizer.decode(prompt_ids(body["tokens"], run) if body["tokens"] else [])}


async def _json(request: Request, wanted: dict[str, type]) -> dict[str, Any]:
    """Raises FieldError for anything but an object with these keys."""
    import pydantic_core

    try:
        body = pydantic_core.from_json(await request.body())
    except ValueError as error:
        raise FieldError(f"no JSON: {error}"[:300]) from None
    if not isinstance(body, dict) or not isinstance(body.get("model"), str | None):
        raise FieldError("expected a JSON object")
    for name, kind in wanted.items():
        if not isinstance(body.get(name), kind):
            raise FieldError(f"{name}: expected a {kind.__name__}", param=name)
    return body


# errors --------------------------------------------------------------------------------------------------------------


def _explained(error: BaseException) -> tuple[int, dict[str, Any]]:
    words = str(error)
    match error:
        case UnknownRunError():
            return 404, error_body(words, kind="invalid_request_error", param="model", code="model_not_found")
        case FieldError():
            return 400, error_body(words, kind="invalid_request_error", param=error.param, code=error.code)
        case RequestError():
            return 400, error_body(words, kind="invalid_request_error")
        case BusyError():
            return 429, error_body(words, kind="rate_limit_error", code="rate_limit_exceeded")
        case StoppingError():
            return 503, error_body(words, kind="server_error", code="stopping")
    log.error("a request failed", exc_info=error)
    return 500, error_body(f"{type(error).__name__}: see the server's run.log", kind="server_error")


async def _told(request: Request, error: Any) -> JSONResponse:
    if hasattr(error, "status_code"):  # no such route
        words = f"Invalid URL ({request.method} {request.url.path[:200]})"
        return JSONResponse(error_body(words, kind="invalid_request_error"), status_code=error.status_code)
    status, body = _explained(error)
    return JSONResponse(body, status_code=status, headers={"Retry-After": "1"} if status in (429, 503) else None)


async def _misaddressed(request: Request, error: Any) -> JSONResponse:
    first = error.errors()[0]
    words = f"{'.'.join(map(str, first['loc']))[:80]}: {first['msg'][:200]}"
    return JSONResponse(error_body(words, kind="invalid_request_error"), status_code=400)


async def _failed(request: Request, error: Any) -> JSONResponse:
    status, body = _explained(error)
    return JSONResponse(body, status_code=status)
