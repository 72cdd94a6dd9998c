"""Uvicorn as a task runs it: our signals, a door that is open before it is announced, clients that must speak."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

import stopping
from errors import RequestError
from tasks.serving.app import Limits, make_app
from tasks.serving.gate import Gate
from tasks.serving.pages import add_pages
from tasks.serving.runs import Runs
from tasks.serving.shelf import Shelf
from tasks.serving.worker import Worker

GRACE_S = 3  # for answers on their way, once a stop is asked for
HEADERS_S = 30.0  # for the first lines of a request to arrive
POLL_S = 0.1
LARGEST_HEADERS = 1 << 16
BACKLOG = 2048


@contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """The open door. Raises RequestError where the address is not ours or is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    door = socket.socket(family, socket.SOCK_STREAM)
    with door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((host, port))
            door.listen(BACKLOG)
        except (TypeError, ValueError):  # of Python's encoder of names: a part that is empty or too long
            raise RequestError(f"serve.host={host} is no name or address that a machine can have.") from None
        except OSError as error:
            raise RequestError(
                f"serve.host={host} serve.port={port}: {error.strerror or error}.\n"
                "Type another serve.port; 0 takes any."
            ) from None
        yield door


class Patient(H11Protocol):
    """Gives a new connection a while to begin its request, and no longer: waiting costs a client nothing, and us a
    file each."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.patience = self.loop.call_later(HEADERS_S, self._close_if_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        self.patience.cancel()  # it would keep what the client has sent
        super().connection_lost(exc)

    def _close_if_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


class Server(uvicorn.Server):
    """Signals are the launcher's: it writes down how the run ended."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def run_until_stopped(
    door: socket.socket,
    shelf: Shelf,
    runs: Runs,
    *,
    token: str | None,
    section: Any,
    stopped: Callable[[], object] = stopping.asked,
) -> None:
    """Serves until `stopped`, as a rule by a signal; answers on their way are then told, and get a moment to be read.

    `section`: rows, waiting, max_new_tokens of `serve`.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what strangers send is no reason for a warning each
    worker = Worker(asyncio.get_running_loop(), rows=section.rows, waiting=section.waiting)
    shelf.in_use = lambda: worker.busy
    app = make_app(shelf, worker, Limits(section.rows, section.max_new_tokens))
    add_pages(app, shelf, runs, token=token)
    server = Server(
        uvicorn.Config(
            Gate(app, token=token),
            http=Patient,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_S,
            h11_max_incomplete_event_size=LARGEST_HEADERS,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[door]))
    try:
        while not serving.done() and not stopped():
            await asyncio.sleep(POLL_S)
        await asyncio.to_thread(worker.close)
        server.should_exit = True
        await serving
    finally:
        await asyncio.to_thread(worker.close)
