"""The page, and what it asks of runs. Each answer says what a browser may do with it: nothing but what is ours."""

import asyncio
import base64
import hashlib
import re
from typing import Any

from fastapi import FastAPI, Query
from fastapi.responses import JSONResponse, RedirectResponse, Response

from inspection.page import front_page
from tasks.serving.asked import FieldError
from tasks.serving.gate import COOKIE
from tasks.serving.runs import Runs
from tasks.serving.shelf import Shelf

MOST_RUNS = 32  # over each other
CLOSED = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
# pages of runs may hold whatever stood in data: they are shown as strangers, with no way to this server
OF_A_RUN = f"{CLOSED}; sandbox allow-scripts; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


def add_pages(app: FastAPI, shelf: Shelf, runs: Runs, *, token: str | None) -> None:
    html = front_page()
    policy = f"{CLOSED}; connect-src 'self'; script-src {_hash(html, 'script')}; style-src {_hash(html, 'style')}"

    @app.get("/")
    async def front(token_shown: str | None = Query(None, alias="token")) -> Response:
        if token_shown is not None and token is not None:  # it must not stay in the address
            answer: Response = RedirectResponse("/", status_code=303, headers=SAFE)
            answer.set_cookie(COOKIE, token, httponly=True, samesite="strict")
            return answer
        return Response(html, media_type="text/html; charset=utf-8",
                        headers=SAFE | {"Content-Security-Policy": policy})  # fmt: skip

    @app.get("/api/runs")
    async def listed() -> Any:
        rows = await asyncio.to_thread(runs.rows)
        return _json({"root": str(runs.root), "runs": [row | shelf.facts(row["name"]) for row in rows]})

    @app.get("/api/curves")
    async def curves(run: list[str] = Query(max_length=MOST_RUNS)) -> Any:  # noqa: B008
        return _json(await asyncio.to_thread(runs.curves, run))

    @app.get("/api/differences")
    async def differences(run: list[str] = Query(max_length=MOST_RUNS)) -> Any:  # noqa: B008
        return _json({"runs": run, "rows": await asyncio.to_thread(runs.differences, run)})

    @app.get("/api/model")
    async def model(run: str) -> Any:
        """Loads it: context, and whether it talks."""
        loaded = await shelf.get(run)
        return _json({"name": run, "context": loaded.model.seq_len, "chat": loaded.turns is not None,
                      "many_turns": loaded.many_turns})  # fmt: skip

    @app.get("/page")
    async def page(run: str, file: str) -> Response:
        path = await asyncio.to_thread(runs.page, run, file)
        try:
            content = await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            raise FieldError(f"{file[:80]} cannot be read: {error.strerror}") from None
        return Response(content, media_type="text/html; charset=utf-8",
                        headers=SAFE | {"Content-Security-Policy": OF_A_RUN})  # fmt: skip


def _json(data: Any) -> JSONResponse:
    return JSONResponse(_finite(data), headers=SAFE)


def _finite(value: Any) -> Any:
    """JSON knows no infinity and no lone surrogates: null and "?" in their place."""
    match value:
        case float():
            return value if abs(value) < float("inf") else None
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {_finite(k): _finite(v) for k, v in value.items()}
        case list() | tuple():
            return [_finite(v) for v in value]
    return value


def _hash(html: str, tag: str) -> str:
    """What of the page's own may run, by its content: 'sha256-...' of each."""
    contents = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.S)
    hashes = (base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in contents)
    return " ".join(f"'sha256-{h}'" for h in hashes) or "'none'"
