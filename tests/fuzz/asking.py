"""A client of a server that a case has started: it waits for the address, asks, and keeps what came back."""

import re
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

_ADDRESS = re.compile(r"API +http://(\S+):(\d+)/v1")
START_S, ANSWER_S = 60.0, 30.0
MOST = 1 << 20  # bytes of an answer that are read


def ask(said: Path, requests: Sequence[bytes], alive: Callable[[], bool]) -> list[bytes]:
    """The beginnings of the answers, empty where the wire was cut; none where the server never said where it is."""
    end = time.monotonic() + START_S
    while alive() and time.monotonic() < end:
        found = _ADDRESS.search(said.read_text(encoding="utf-8", errors="replace")) if said.is_file() else None
        if found is not None:
            return [_answer(int(found[2]), request) for request in requests]
        time.sleep(0.05)
    return []


def _answer(port: int, request: bytes) -> bytes:
    got = b""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as wire:
        wire.sendall(request)
        while len(got) < MOST and (more := wire.recv(65536)):
            got += more
    return got
