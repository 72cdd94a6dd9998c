"""Who may come in, and how much they may send: before any route sees a request.

Without a token only this machine may ask, and only under its own name: a page of somebody else's in a browser here must
not reach the server by a name that it makes point here (DNS rebinding), nor post to it from its own origin.
"""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tasks.serving.answering import error_body

LARGEST_BODY = 8 << 20
READ_AT_MOST = 64 << 20  # of a body that is too large
BODY_S = 30.0  # for a whole body to arrive
COOKIE = "nanolab_token"
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class Gate:
    """Args:
    token: what clients must show; None: nothing, but only local names are answered to.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], *, token: str | None):
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # nothing here speaks WebSockets
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        if refusal := self._refusal(scope, headers):
            await refused(send, *refusal)
            return
        if scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        try:
            body = await asyncio.wait_for(_body(receive, headers), BODY_S)
        except TooLargeError:
            await refused(send, 413, f"the body has more than {LARGEST_BODY >> 20} MB", "invalid_request_error")
        except TimeoutError:
            await refused(send, 408, f"the body took longer than {BODY_S:.0f} s", "invalid_request_error")
        else:
            if body is not None:
                await self.app(scope, _replay(body, receive), send)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str, str] | None:
        host = headers.get("host", "")
        if self.token is None:
            if _name_of(host) not in LOCAL_NAMES:
                return 403, f"this server answers to localhost only, not to {host[:80]!r}", "permission_error"
        elif not self._knows(scope, headers):
            return 401, "a token is needed: Authorization: Bearer TOKEN", "authentication_error"
        origin = headers.get("origin")
        if origin is not None and scope["method"] not in ("GET", "HEAD") and _place_of(origin) != host:
            return 403, f"requests from pages of {origin[:80]!r} are not answered", "permission_error"
        return None

    def _knows(self, scope: Scope, headers: dict[str, str]) -> bool:
        scheme, _, value = headers.get("authorization", "").strip().partition(" ")
        shown = [value.strip() if scheme.lower() == "bearer" else "", cookie_of(headers)]
        if scope["path"] == "/" and scope["method"] == "GET":  # the address that was printed
            shown += parse_qs(scope["query_string"].decode("latin-1")).get("token", [])[:1]
        assert self.token is not None
        return any(hmac.compare_digest(one.encode(), self.token.encode()) for one in shown)


def cookie_of(headers: dict[str, str]) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")[:4096]).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _place_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # http://[ is nobody's
        return None


def _name_of(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


class TooLargeError(Exception):
    pass


async def _body(receive: Receive, headers: dict[str, str]) -> bytes | None:
    """The whole body; None where the client has gone."""
    said = headers.get("content-length", "0")
    expected = int(said[:20]) if said.isdigit() else 0
    if expected > READ_AT_MOST:
        raise TooLargeError
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part, more = message.get("body", b""), message.get("more_body")
        size += len(part)
        if size <= LARGEST_BODY:
            parts.append(part)
        elif not more or not expected:  # a client that sends on while it is refused would not read the refusal
            raise TooLargeError
        if not more:
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Any:
        return waiting.pop() if waiting else await receive()

    return again


async def refused(send: Send, status: int, words: str, kind: str) -> None:
    body = json.dumps(error_body(words, kind=kind)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"connection", b"close")] * (status in (408, 413))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
